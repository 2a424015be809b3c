"""`systemctl` of a lab's host: reads the command line and asks the service manager in process 1."""

import json
import os
import socket
import sys

VERBS = {
    "start",
    "stop",
    "restart",
    "try-restart",
    "kill",
    "enable",
    "disable",
    "is-active",
    "is-failed",
    "is-enabled",
    "status",
    "show",
    "cat",
    "daemon-reload",
    "reset-failed",
}
ALIASES = {"list-units": "list", "list-unit-files": "list"}
WITH_VALUE = {"-p", "--property", "-n", "--lines", "-t", "--type", "--signal", "-s", "--kill-who", "--state"}


def ask(verb, names, now):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.connect("/run/lab/systemd.sock")
        line.sendall(json.dumps({"verb": verb, "names": names, "now": now}).encode() + b"\n")
        return json.loads(line.makefile().readline())


def read_command_line(given):
    """Split into words, flags, and what follows the options that take something."""
    words, values = [], {}
    arguments = iter(given)
    for word in arguments:
        if word in WITH_VALUE:
            values[word] = next(arguments, "")
        elif word.startswith("-"):
            name, _, values[name] = word.partition("=")
        else:
            words.append(word)
    return words, values


def choose(out, values):
    """Cut the properties of `show` down to those that were asked for."""
    chosen = values.get("-p") or values.get("--property")
    if not chosen:
        return out
    rows = dict(line.split("=", 1) for line in out.splitlines())
    return "".join(f"{'' if '--value' in values else name + '='}{rows.get(name, '')}\n" for name in chosen.split(","))


def main():
    words, values = read_command_line(sys.argv[1:])
    verb = words.pop(0) if words else "list-units"
    if "--version" in values or verb == "is-system-running":
        sys.stdout.write("systemd 252 (252.30-1~deb12u2)\n" if "--version" in values else "running\n")
        return 0
    if verb not in VERBS and verb not in ALIASES:
        sys.stderr.write(f"Unknown command verb {verb}.\n")
        return 1
    answer = ask(ALIASES.get(verb, verb), words, "--now" in values)
    out = choose(answer["out"], values) if verb == "show" else answer["out"]
    if verb in ALIASES and words:
        out = "".join(line for line in out.splitlines(True) if line.split()[0] in words)
    is_quiet = "-q" in values or "--quiet" in values
    if not (is_quiet and verb.startswith("is-")):
        sys.stdout.write(out)
    if not is_quiet:
        sys.stderr.write(answer["err"])
    return answer["code"]


try:
    sys.exit(main())
except OSError:
    if os.path.exists("/run/systemd/system"):
        sys.stderr.write("Failed to connect to bus: Connection refused\n")
    else:
        sys.stderr.write("System has not been booted with systemd as init system (PID 1). Can't operate.\n")
    sys.exit(1)
