"""One host of a lab: its power, its cables, its faults, and what can be seen of it from outside."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.hosts import keys, layers, networks
from tests.hosts.layers import Entry
from tests.hosts.machine import Machine, User, write_layer
from tests.hosts.networks import Cable, Interface

if TYPE_CHECKING:
    from tests.hosts.lab import Lab

PYTHON = "/usr/bin/python3"
INSIDE = Path(__file__).parent / "inside"
RUN_LIMIT_S = 60
UNSEEN = ("/run/lab", "/run/sudo", "/run/sshd.pid", "/run/systemd", "/run/utmp")
"""What the lab, sudo and sshd keep in /run while a host is on."""
SSHD = """\
Port {port}
{host_keys}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
StrictModes yes
MaxStartups 100:30:200
PrintMotd no
AcceptEnv LANG LC_*
Subsystem sftp /usr/lib/openssh/sftp-server
"""


class HostError(Exception):
    """A host did not come up."""


class Host:
    """A machine that `Lab.host` made. Its files outlive a power cut, its processes do not."""

    def __init__(
        self,
        lab: "Lab",
        name: str,
        cables: Sequence[Cable],
        *,
        users: Sequence[User],
        machine: Machine,
        port: int,
        host_keys: Sequence[str],
        interfaces: Sequence[Interface],
    ) -> None:
        self.name, self.port, self.machine, self.users = name, port, machine, list(users)
        self.cables = list(cables)
        self.pid = 0
        self._lab = lab
        self._interfaces = interfaces
        self._forwards: dict[int, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._first: int | None = None
        """A descriptor of its first process: the id could be another process's by the time of a signal."""
        self._shown = Path(lab.room) / "hosts" / name
        self._folder = lab.inside(self._shown)
        for part in ("root", "docker", "top"):
            (self._folder / part).mkdir(parents=True)
        if machine.disk_mib:
            lab.order("disk", name, path=f"{self._shown}/top", mib=machine.disk_mib)
        for part in ("upper", "work"):
            (self._folder / "top" / part).mkdir()
        (self._folder / "top/upper").chmod(0o755)
        self._layer = self._folder / "layer"
        write_layer(self._layer, name, machine, users)
        self.host_keys: dict[str, str] = {}
        """The public host keys by kind, as `known_hosts` has them: `ssh-ed25519 AAAA…`."""
        self.change_host_keys(*host_keys)
        self._write_config()

    def __repr__(self) -> str:
        return f"Host({self.name}, {self.address}, {'on' if self.is_on else 'off'})"

    # --- where it is

    @property
    def user(self) -> str:
        """The first user's name."""
        return self.users[0].name

    @property
    def address(self) -> str:
        """The address in its first network."""
        return self.cables[0].address

    def address_in(self, network: str) -> str:
        """The address in a network, by the network's name."""
        return next(cable.address for cable in self.cables if cable.network.name == network)

    @property
    def target(self) -> str:
        """`user@address`, for ssh."""
        return f"{self.user}@{self.address}"

    def known_hosts(self, address: str = "") -> str:
        """Lines for a known_hosts file."""
        place = address or self.address
        shown = place if self.port == 22 else f"[{place}]:{self.port}"
        return "".join(f"{shown} {key}\n" for key in self.host_keys.values())

    # --- power

    @property
    def is_on(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def power_on(self) -> None:
        """Boot, and return when sshd listens."""
        if self.is_on:
            return
        command = [PYTHON, "-BISs", "-c", _START, str(INSIDE), f"{self._shown}/host.json", str(self._lab.keeper_pid)]
        with (self._folder / "console").open("ab") as console:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=console, start_new_session=True
            )
        self._process = process
        self.pid = int(self._hear("pid"))
        try:
            self._first = os.pidfd_open(self.pid)
            self._connect()
            self._hear("ready")
        except BaseException:
            self.power_off()
            raise
        for port, target in self._forwards.items():
            self._lab.order("forward", self.name, pid=self.pid, port=port, target=target)

    def power_off(self) -> None:
        """Pull the plug: every process is gone at once, nothing is said to anybody."""
        if self._process is None:
            return
        self._lab.order("hold", self.name)
        self.kill()
        process, self._process = self._process, None
        process.wait(timeout=RUN_LIMIT_S)
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        self._lab.order("drop", self.name)
        for cable in self.cables:  # the kernel takes its time with a namespace; the next boot needs the names
            with contextlib.suppress(networks.WiringError):
                networks.run_ip([f"link delete {cable.port}"], namespace=self._lab.bridges)

    def kill(self) -> None:
        """End the first process, and with it all others, without waiting for that."""
        if self._first is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
            os.close(self._first)
            self._first = None

    def reboot(self) -> None:
        """Files stay, processes go, enabled units start, cables are plugged in; `boot_id` is another."""
        self.power_off()
        self.power_on()

    # --- faults

    def cut(self, network: str = "") -> None:
        """Pull the cables (of one network, if named). What was on its way to 127.0.0.1 of the tests waits, too."""
        self._set_cables("down", network)
        if not network:
            self._lab.order("hold", self.name)

    def mend(self, network: str = "") -> None:
        """Plug them in again."""
        self._set_cables("up", network)
        if not network:
            self._lab.order("release", self.name)

    def degrade(self, *, delay_ms: int = 0, loss_percent: float = 0.0) -> None:
        """Delay and lose packets towards this host in its first network; zeros end it. Needs `netem` in the kernel."""
        port = self.cables[0].port
        faults = [f"delay {delay_ms}ms"] * (delay_ms > 0) + [f"loss {loss_percent}%"] * (loss_percent > 0)
        action = ["tc", "qdisc", "replace", "dev", port, "root", "netem", *" ".join(faults).split()]
        if not faults:
            action = ["tc", "qdisc", "del", "dev", port, "root"]
        self._lab.run_at_bridges(action)

    def serve(self, port: int, target: int = 0) -> None:
        """Let 127.0.0.1:`port` inside the host lead to 127.0.0.1:`target` (the same port) of the tests, also later."""
        self._forwards[port] = target or port
        if self.is_on:
            self._lab.order("forward", self.name, pid=self.pid, port=port, target=target or port)

    def change_host_keys(self, *kinds: str) -> None:
        """Replace the host keys by new ones, as a reinstalled machine would; a running sshd takes them up."""
        folder = self._layer / "etc/ssh"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("ssh_host_*"):
            old.unlink()
        self.host_keys = {}
        for kind in kinds or ("ed25519",):
            made = keys.make(folder / f"ssh_host_{kind}_key", kind)
            self.host_keys[kind] = " ".join(made.public.split()[:2])
        if self.is_on:
            self._write_config()
            self.reboot()

    def replace_machine(self, machine: Machine) -> None:
        """Change what the machine is (a driver was installed, say) and reboot. Files on top of the base stay."""
        self.power_off()
        ssh = self._folder / "ssh"
        (self._layer / "etc/ssh").rename(ssh)
        self._layer.rename(self._folder / f"layer-{os.urandom(4).hex()}")
        self.machine = machine
        write_layer(self._layer, self.name, machine, self.users)
        ssh.rename(self._layer / "etc/ssh")
        self._write_config()
        self.power_on()

    # --- what can be seen

    def run(
        self, *command: str, user: str = "root", check: bool = True, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, without ssh: a single word goes to `sh -c`."""
        if not self.is_on:
            raise HostError(f"{self.name} is off, so nothing can run on it")
        argv = ["sh", "-c", command[0]] if len(command) == 1 else list(command)
        switch = [] if user == "root" else ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--uts", "--ipc", "--root", "--wd=/"]
        home = "/root" if user == "root" else f"/home/{user}"
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home}
        done = subprocess.run(
            [*enter, *switch, *argv],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            timeout=RUN_LIMIT_S,
        )
        if check and done.returncode:
            raise HostError(f"{self.name}: {command} exited with {done.returncode}: {done.stderr}")
        return done

    def read(self, path: str) -> str:
        """The text of a file inside, as root sees it."""
        return self.run("cat", path).stdout

    def files(self) -> dict[str, Entry]:
        """Everything on top of the base, and in /run and /dev/shm: what the host's programs and visitors left."""
        top = self._folder / "top/upper"
        found = layers.differences(top, [self._layer, self._lab.common, Path("/")])
        if self.is_on:
            for place in ("/run", "/dev/shm"):
                root = Path(f"/proc/{self.pid}/root{place}")
                for path in root.rglob("*"):
                    shown = f"{place}/{path.relative_to(root)}"
                    if not shown.startswith(UNSEEN):
                        found[shown] = layers.describe(path)
        return dict(sorted(found.items()))

    def units(self) -> dict[str, tuple[str, str]]:
        """Each unit: whether it is enabled, and its state."""
        if not self.machine.systemd:
            return {}
        rows = [line.split() for line in self.run("systemctl", "list-unit-files", "--no-legend").stdout.splitlines()]
        return {name: (enabled, state) for name, enabled, state in rows}

    def processes(self) -> list[str]:
        """The command lines of all processes but the first, sshd, and what this very question started."""
        found = []
        for folder in sorted(Path(f"/proc/{self.pid}/root/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if folder.name != "1" and words and not words.startswith(("/usr/sbin/sshd", "sshd:")):
                    found.append(words)
        return found

    def console(self) -> str:
        """What its first process and its sshd said."""
        log = self.run("cat", "/run/lab/sshd.log").stdout if self.is_on else ""
        return (self._folder / "console").read_text() + log

    # --- inside

    def _write_config(self) -> None:
        lines = "\n".join(f"HostKey /etc/ssh/ssh_host_{kind}_key" for kind in self.host_keys)
        layers.write(self._layer, "etc/ssh/sshd_config", SSHD.format(port=self.port, host_keys=lines))
        driver = self.machine.driver
        works = bool(driver and driver.has_smi and not driver.trouble)
        plan: Mapping[str, Any] = {
            "name": self.name,
            "folder": str(self._shown),
            "layers": [f"{self._shown}/layer", f"{self._lab.room}/common"],
            "systemd": self.machine.systemd,
            "devices": ["nvidiactl", *(f"nvidia{n}" for n in range(len(driver.gpus)))] if driver and works else [],
            "driver_file": driver.file if driver else "",
            "names": dict(self.machine.names),
            "dns": self.machine.dns,
        }
        (self._folder / "host.json").write_text(json.dumps(plan))

    def _connect(self) -> None:
        """Make the interfaces in the order in which the machine has them, and give them their addresses."""
        inside = f"/proc/{self.pid}/ns/net"
        early = [line for extra in self._interfaces if extra.before for line in extra.commands()]
        late = [line for extra in self._interfaces if not extra.before for line in extra.commands()]
        if early:
            networks.run_ip(early, namespace=inside)
        networks.run_ip((line for cable in self.cables for line in cable.plug(self.pid)), namespace=self._lab.bridges)
        settled = [line for n, cable in enumerate(self.cables) for line in cable.settle(is_first=n == 0)]
        networks.run_ip([*settled, *late], namespace=inside)

    def _set_cables(self, state: str, network: str) -> None:
        chosen = [cable for cable in self.cables if network in {"", cable.network.name}]
        networks.run_ip((f"link set {cable.port} {state}" for cable in chosen), namespace=self._lab.bridges)

    def _hear(self, key: str) -> Any:
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline()
        heard = json.loads(line) if line else {"error": (self._folder / "console").read_text()[-1000:]}
        if key not in heard:
            self.power_off()
            raise HostError(f"{self.name} did not come up: {heard.get('error')}")
        return heard[key]


_START = "import sys; sys.argv = sys.argv[1:]; sys.path.insert(0, sys.argv[0]); import init; init.main()"
"""`-I` keeps the folder of the script off the path, so it is put there by hand."""
