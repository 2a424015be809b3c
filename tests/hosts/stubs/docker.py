"""`docker` of a lab's host: containers are processes (see `container.py`), and the daemon is whatever state it is in.

Texts and exit statuses are those of Docker 26. Source: the reference of the docker command line.
"""

import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time

ENGINE = "/usr/libexec/lab"
HOME = "/var/lib/docker"
VERSION = "26.1.4"
DOCKER_GROUP = 998
WITH_VALUE = {
    "--name", "--label", "-l", "--gpus", "--volume", "-v", "--workdir", "-w", "--env", "-e", "--env-file", "--network",
    "--shm-size", "--runtime", "--ulimit", "--ipc", "--entrypoint", "--user", "-u", "--device", "--restart", "--memory",
    "--cpus", "--mount", "--pull", "--hostname", "--net", "-f", "--format", "--filter", "-t", "--time", "--type", "-n",
    "--signal", "-s", "--tail",
}  # fmt: skip


class DockerError(Exception):
    """What is printed, and the exit status."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


def split(given, *, with_value=WITH_VALUE, all_words=True):
    """Split into options (name and value, in order) and words. Not `all_words`: options end at the first word."""
    options, words = [], []
    arguments = list(given)
    while arguments:
        word = arguments.pop(0)
        name, equals, value = word.partition("=")
        if word.startswith("-") and word != "-":
            if name in with_value and not equals:
                value = arguments.pop(0)
            options.append((name, value))
        else:
            words.append(word)
            if not all_words:
                words += arguments
                break
    return options, words


def values(options, *names):
    return [value for name, value in options if name in names]


class Container:
    """One container by its folder."""

    def __init__(self, name):
        self.folder = f"{HOME}/{name}"
        self.id = name
        with open(f"{self.folder}/container.json") as file:
            self.wanted = json.load(file)

    @property
    def is_running(self):
        with open(f"{self.folder}/lock", "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    @property
    def exit_code(self):
        try:
            with open(f"{self.folder}/end") as file:
                return int(file.read())
        except (OSError, ValueError):
            return 0 if self.is_running else 255  # the power went away

    def signal(self, number):
        if not self.is_running:
            return  # the id in the file may be another process's since
        try:
            with open(f"{self.folder}/pid") as file:
                os.kill(int(file.read()), number)
        except (OSError, ValueError):
            pass

    def wait(self, limit_s=float("inf")):
        until = time.monotonic() + limit_s
        while self.is_running:
            if time.monotonic() >= until:
                return False
            time.sleep(0.01)
        return True

    def describe(self):
        running = self.is_running
        state = {"Status": "running" if running else "exited", "Running": running, "ExitCode": self.exit_code}
        config = {"Labels": self.wanted["labels"], "Image": self.wanted["image"]}
        return {"Id": self.id, "Name": f"/{self.wanted['name']}", "State": state, "Config": config}

    def row(self):
        labels = ",".join(f"{name}={value}" for name, value in self.wanted["labels"].items())
        status = "Up 1 second" if self.is_running else f"Exited ({self.exit_code}) 1 second ago"
        found = {"ID": self.id[:12], "Names": self.wanted["name"], "Image": self.wanted["image"], "Status": status}
        return {**found, "Labels": labels, "State": "running" if self.is_running else "exited"}


def containers():
    return [Container(name) for name in sorted(os.listdir(HOME)) if os.path.exists(f"{HOME}/{name}/container.json")]


def find(name):
    for container in containers():
        if container.wanted["name"] == name or (len(name) >= 4 and container.id.startswith(name)):
            return container
    raise DockerError(f"Error response from daemon: No such container: {name}")


def fill(template, value):
    """Fill in a Go template: `{{.A.B}}`, `{{json .A}}`, and nothing else of that language."""

    def put(found):
        at = value
        for part in found[2].strip(".").split("."):
            if part:
                at = at.get(part, "") if isinstance(at, dict) else ""
        return json.dumps(at) if found[1] else str(at).lower() if isinstance(at, bool) else str(at)

    return re.sub(r"\{\{\s*(json\s+)?(\.[\w.]*)\s*\}\}", put, template)


def info(machine):
    runtimes = {"io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}}
    if machine["docker"] == "nvidia":
        runtimes["nvidia"] = {"path": "nvidia-container-runtime"}
    found = {"ServerVersion": VERSION, "Runtimes": runtimes, "DefaultRuntime": "runc", "DockerRootDir": HOME}
    found |= {"SecurityOptions": ["name=seccomp,profile=builtin"], "ServerErrors": None}
    if machine["docker"] == "cdi":
        gpus = machine["driver"]["gpus"] if machine["driver"] else []
        names = [*(str(n) for n in range(len(gpus))), "all"]
        found["CDISpecDirs"] = ["/etc/cdi", "/var/run/cdi"]
        found["DiscoveredDevices"] = [{"Source": "cdi", "ID": f"nvidia.com/gpu={name}"} for name in names]
    return found


def run(machine, given):
    options, words = split(given, all_words=False)
    if not words:
        raise DockerError('"docker run" requires at least 1 argument.')
    has_driver = bool(machine["driver"] and not machine["driver"]["trouble"] and machine["driver"]["has_smi"])
    if values(options, "--gpus") and not (has_driver and machine["docker"] in {"nvidia", "cdi"}):
        text = 'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].'
        raise DockerError(text, 125)
    if "nvidia" in values(options, "--runtime") and machine["docker"] != "nvidia":
        raise DockerError("docker: Error response from daemon: unknown or invalid runtime name: nvidia.", 125)
    if words[0].startswith("missing"):
        text = f"docker: Error response from daemon: pull access denied for {words[0]}, repository does not exist."
        raise DockerError(f"Unable to find image '{words[0]}' locally\n{text}", 125)
    name = (values(options, "--name") or [f"eager_{secrets.token_hex(3)}"])[-1]
    if any(container.wanted["name"] == name for container in containers()):
        raise DockerError(
            f'docker: Error response from daemon: Conflict. The container name "/{name}" is already in use.', 125
        )
    container = create(name, words, options)
    if values(options, "-d", "--detach"):
        sys.stdout.write(f"{container.id}\n")
        return 0
    code = follow(container, sys.stdout.buffer)
    if values(options, "--rm"):
        shutil.rmtree(container.folder)
    return code


def create(name, words, options):
    chosen = secrets.token_hex(32)
    env = {}
    for text in values(options, "--env", "-e"):
        key, equals, value = text.partition("=")
        if equals or key in os.environ:
            env[key] = value if equals else os.environ[key]
    for path in values(options, "--env-file"):
        with open(path) as file:
            env |= dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    labels = [label.partition("=") for label in values(options, "--label", "-l")]
    entry = values(options, "--entrypoint")
    wanted = {
        "name": name,
        "image": words[0],
        "argv": [*entry, *words[1:]] or ["true"],
        "env": env,
        "labels": {key: value for key, _, value in labels},
        "volumes": [text.split(":")[:2] for text in values(options, "--volume", "-v")],
        "workdir": (values(options, "--workdir", "-w") or ["/"])[-1],
    }
    os.mkdir(f"{HOME}/{chosen}", 0o700)
    with open(f"{HOME}/{chosen}/container.json.new", "w") as file:
        json.dump(wanted, file)
    os.rename(f"{HOME}/{chosen}/container.json.new", f"{HOME}/{chosen}/container.json")
    begin = f"import sys; sys.path.insert(0, {ENGINE!r}); import container; container.main()"
    shim = subprocess.Popen(
        [f"{ENGINE}/python3", "-BISs", "-c", begin, f"{HOME}/{chosen}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        cwd="/",
        start_new_session=True,
    )
    if not shim.stdout.readline():
        raise DockerError("docker: Error response from daemon: failed to create shim task.", 125)
    return Container(chosen)


def follow(container, out, *, wait=True):
    """Copy the log until the container ends; return its exit status."""
    sent = 0
    while True:
        running = wait and container.is_running
        if os.path.exists(f"{container.folder}/log"):
            with open(f"{container.folder}/log", "rb") as log:
                log.seek(sent)
                data = log.read()
            sent += len(data)
            out.write(data)
            out.flush()
        if not running:
            return container.exit_code
        time.sleep(0.01)


def ps(_machine, given):
    options, _ = split(given)
    everything = values(options, "-a", "--all") or any(re.fullmatch(r"-[aq]*a[aq]*", name) for name, _ in options)
    found = [container for container in containers() if everything or container.is_running]
    for text in values(options, "--filter", "-f"):
        kind, _, wish = text.partition("=")
        key, equals, value = wish.partition("=")
        if kind == "label":
            found = [c for c in found if key in c.wanted["labels"] and (not equals or c.wanted["labels"][key] == value)]
        elif kind == "name":
            found = [c for c in found if re.search(wish, c.wanted["name"])]
        else:
            raise DockerError(f"Error response from daemon: invalid filter '{kind}'")
    template = (values(options, "--format") or ["{{.ID}} {{.Image}} {{.Status}} {{.Names}}"])[-1]
    if any(re.fullmatch(r"-[aq]*q[aq]*|--quiet", name) for name, _ in options):
        template = "{{.ID}}"
    for container in found:
        sys.stdout.write(fill(template, container.row()) + "\n")
    return 0


def stop(_machine, given):
    options, names = split(given)
    grace_s = float((values(options, "-t", "--time") or ["10"])[-1])
    for name in names:
        container = find(name)
        container.signal(signal.SIGTERM)
        if not container.wait(grace_s):
            container.signal(signal.SIGKILL)
            container.wait(10.0)
        sys.stdout.write(f"{name}\n")
    return 0


def kill(_machine, given):
    for name in split(given)[1]:
        find(name).signal(signal.SIGKILL)
        sys.stdout.write(f"{name}\n")
    return 0


def remove(_machine, given):
    options, names = split(given, with_value=set())
    is_forced = any(re.fullmatch(r"--force|-[fv]*f[fv]*", name) for name, _ in options)
    code = 0
    for name in names:
        try:
            container = find(name)
        except DockerError as failure:
            sys.stderr.write(f"{failure}\n")
            code = 0 if is_forced else 1
            continue
        if container.is_running and not is_forced:
            raise DockerError(f'Error response from daemon: cannot remove container "/{name}": container is running')
        container.signal(signal.SIGKILL)
        container.wait(10.0)
        shutil.rmtree(container.folder)
        sys.stdout.write(f"{name}\n")
    return code


def inspect(_machine, given):
    options, names = split(given)
    found = [find(name).describe() for name in names]
    templates = values(options, "--format", "-f")
    if templates:
        sys.stdout.write("".join(fill(templates[-1], each) + "\n" for each in found))
    else:
        sys.stdout.write(json.dumps(found, indent=4) + "\n")
    return 0


def logs(_machine, given):
    options, names = split(given, with_value={"-n", "--tail"})
    container = find(names[0])
    follow(container, sys.stdout.buffer, wait=bool(values(options, "--follow", "-f")))
    return 0


def wait(_machine, given):
    for name in split(given)[1]:
        container = find(name)
        container.wait()
        sys.stdout.write(f"{container.exit_code}\n")
    return 0


def show_info(machine, given):
    templates = values(split(given)[0], "--format", "-f")
    sys.stdout.write(fill(templates[-1] if templates else " Server Version: {{.ServerVersion}}", info(machine)) + "\n")
    return 0


def version(_machine, given):
    templates = values(split(given)[0], "--format", "-f")
    text = "Client:\n Version: {{.Client.Version}}\nServer:\n Version: {{.Server.Version}}"
    facts = {"Client": {"Version": VERSION}, "Server": {"Version": VERSION}}
    sys.stdout.write(fill(templates[-1] if templates else text, facts) + "\n")
    return 0


def pull(_machine, given):
    sys.stdout.write(f"Status: Image is up to date for {split(given)[1][0]}\n")
    return 0


VERBS = {
    "run": run,
    "ps": ps,
    "stop": stop,
    "kill": kill,
    "rm": remove,
    "inspect": inspect,
    "logs": logs,
    "wait": wait,
    "info": show_info,
    "version": version,
    "pull": pull,
}


def main():
    with open(f"{ENGINE}/machine.json") as file:
        machine = json.load(file)
    words = sys.argv[1:]
    if words[:1] in (["--version"], ["-v"]):
        sys.stdout.write(f"Docker version {VERSION}, build 5650f9b\n")
        return 0
    if words[:1] == ["container"]:
        words = [{"ls": "ps"}.get(words[1], words[1]), *words[2:]]
    if not words or words[0] not in VERBS:
        raise DockerError(f"docker: '{' '.join(words[:1])}' is not a docker command.\nSee 'docker --help'")
    socket = "unix:///var/run/docker.sock"
    if machine["docker"] == "down":
        raise DockerError(
            f"Cannot connect to the Docker daemon at {socket}. Is the docker daemon running?",
            125 if words[0] == "run" else 1,
        )
    if os.geteuid() != 0 and DOCKER_GROUP not in os.getgroups():
        raise DockerError(f"permission denied while trying to connect to the Docker daemon socket at {socket}")
    return VERBS[words[0]](machine, words[1:])


try:
    sys.exit(main())
except DockerError as failure:
    sys.stderr.write(f"{failure}\n")
    sys.exit(failure.code)
except KeyboardInterrupt:
    sys.exit(130)
