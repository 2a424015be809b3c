"""What a host is: the script that looks, and the parser of what it prints. Pure text on both sides.

Whoever carries the script feeds it to `sh -s` as the user that the host was added with, without sudo, and hands the
output to `parse`. One script and one round trip, because each command over SSH costs one.
"""

import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.hosts import HostProbe, Owner, Python, Reach, System
from chalicelib.ssh.errors import ScriptOutputError
from chalicelib.ssh.layout import INSTALLED, Layout
from chalicelib.ssh.probe_devices import docker_of, json_object, nvidia_of
from chalicelib.ssh.probe_network import addresses_of
from chalicelib.ssh.reading import SHOWN, Lines, is_number, read, understood

NAME: Final = "tidepool-probe"
SHELL: Final = Path(__file__).parent / "shell"

COMMANDS: Final = (
    "libc", "init_version", "disk", "docker_client", "docker_root", "docker_user", "gpu", "banner", "toolkit", "api",
)  # fmt: skip
"""Keys whose lines are a command's output; each has its exit status under `<key>.exit`."""

KEYS: Final = frozenset(
    {
        "hostname", "kernel", "kernel_version", "arch", "os", "boot_id", "uptime", "machine_id", "user", "uid", "init",
        "cpus", "cpu_max", "cpu_quota", "memory_kib", "disk_path", "sudo", "sudo_error", "python",
        "ip", "ifconfig", "fib", "route", "if_inet6", "default", "docker", "embedded", "driver", "pci",
        "proxy", "dns", "api_tool", "owner_file", "owner", "agent", "clock_ms",
        *COMMANDS, *(f"{key}.exit" for key in COMMANDS),
    }
)  # fmt: skip

DOCUMENTS: Final = frozenset({"docker_root", "docker_user"})
"""Keys whose values are JSON."""

MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}")
"""Source: machine-id(5). Images that were not started yet have `uninitialized` there, or nothing."""

PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9._:/@+=-]{1,500}")
"""A path that can stand in a script and in a unit as it is. An interpreter at another one is none that is of use."""

UNRESOLVED: Final = re.compile(
    r"could not resolve|name resolution|name or service not known|bad address|unable to resolve", re.IGNORECASE
)
"""What curl, Python on glibc and musl, and both kinds of wget say."""

OS_LINE: Final = re.compile(r"([A-Z_]+)=(.*)")


def script(api_url: str, layout: Layout = INSTALLED) -> str:
    """Write the script for a host that is to reach the API at `api_url` (http or https, without `/v1`)."""
    url = checked_url(api_url)
    host = urlsplit(url).hostname or ""
    values = {"api_url": url, "api_host": host, "home": layout.home, "owner": layout.owner, "unit": layout.unit}
    assigned = "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    return assigned + _text()


def parse(output: str) -> HostProbe:
    """Read what the script printed.

    Raises `ScriptOutputError` where it is another's output, was cut, or has a line that the script cannot have printed.
    What a host could not tell is empty, zero or None.
    """
    lines = read(output, NAME, KEYS, DOCUMENTS)
    with understood(NAME):
        return _found(lines)


def _found(lines: Lines) -> HostProbe:
    total_mib, free_mib = _disk(lines)
    milliseconds = lines.number("clock_ms")
    uptime = lines.one("uptime").partition(".")[0]
    machine_id = lines.one("machine_id")
    return HostProbe(
        hostname=lines.one("hostname"),
        system=_system(lines),
        boot_id=lines.one("boot_id"),
        machine_id=machine_id if MACHINE_ID.fullmatch(machine_id) else "",
        uptime_s=int(uptime) if is_number(uptime) else 0,
        user=lines.one("user"),
        uid=lines.number("uid"),
        pythons=tuple(_pythons(lines)),
        sudo=lines.one("sudo"),
        sudo_error=lines.text("sudo_error"),
        init=lines.one("init"),
        init_version=_version_in(lines.one("init_version")),
        docker=docker_of(lines),
        nvidia=nvidia_of(lines),
        cpus=_cpus(lines),
        memory_mib=lines.number("memory_kib") // 1024,
        disk_path=lines.one("disk_path"),
        disk_total_mib=total_mib,
        disk_free_mib=free_mib,
        addresses=addresses_of(lines),
        default_interfaces=tuple(dict.fromkeys(lines.every("default"))),
        reach=_reach(lines),
        owner=read_owner("\n".join(lines.every("owner"))) if lines.one("owner_file") else None,
        agent=lines.one("agent"),
        clock=datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds),
    )


def checked_url(api_url: str) -> str:
    """Take a URL that can stand in a script, a unit and an environment file as it is."""
    url = api_url.rstrip("/")
    if not re.fullmatch(r"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?", url):
        raise InvalidInputError("api_url", api_url, "an http or https URL of letters, digits and -._~/ only")
    return url


@cache
def _text() -> str:
    return (SHELL / "telling.sh").read_text() + (SHELL / "probe.sh").read_text()


def _system(lines: Lines) -> System:
    found = (OS_LINE.fullmatch(line.strip()) for line in lines.every("os"))
    release = {match[1]: match[2].strip("\"'") for match in found if match}
    return System(
        name=release.get("PRETTY_NAME", release.get("NAME", "")),
        distribution=release.get("ID", ""),
        like=tuple(release.get("ID_LIKE", "").split()),
        version=release.get("VERSION_ID", ""),
        kernel=lines.one("kernel"),
        kernel_version=lines.one("kernel_version"),
        arch=lines.one("arch"),
        libc=_libc(lines),
    )


def _libc(lines: Lines) -> str:
    """`glibc 2.35`, `musl 1.2.4`, or "". The first line of glibc's ldd ends with it, musl's has a line of its own."""
    text = "\n".join(lines.every("libc"))
    if "musl" in text:
        version = re.search(r"^Version ([0-9.]+)", text, re.MULTILINE)
        return f"musl {version[1]}" if version else "musl"
    version = re.fullmatch(r"[0-9]+\.[0-9]+", lines.one("libc").strip().rpartition(" ")[2])
    return f"glibc {version[0]}" if version else ""


def _pythons(lines: Lines) -> Iterator[Python]:
    for line in lines.every("python"):
        path, version, tls = [*line.rsplit(" ", 2), "", ""][:3]
        numbers = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", version)
        if numbers is None or tls not in ("yes", "no"):
            cut = line[:SHOWN]
            raise ScriptOutputError(f"no Python describes itself like this: {cut!r}", line=cut)
        if PLAIN_PATH.fullmatch(path):
            yield Python(path, (int(numbers[1]), int(numbers[2]), int(numbers[3])), tls == "yes")


def _cpus(lines: Lines) -> int:
    """What may be used: what the scheduler shows, or less where the control group has a quota (a container, a slice).

    Sources: `cpu.max` of cgroup v2 (`<quota>|max <period>`), `cpu.cfs_quota_us` and `cpu.cfs_period_us` of v1.
    """
    seen = lines.number("cpus")
    for key in ("cpu_max", "cpu_quota"):
        quota = re.fullmatch(r"([0-9]{1,15}) ([0-9]{1,15})", lines.one(key).strip())
        if quota and int(quota[2]):
            return max(1, min(seen, -(-int(quota[1]) // int(quota[2]))))
    return seen


def _disk(lines: Lines) -> tuple[int, int]:
    """Total and free MiB, from `df -Pk`: POSIX has one line for each file system, of six columns in KiB."""
    if lines.one("disk.exit") != "0":
        return 0, 0
    columns = (lines.every("disk") or ("",))[-1].split()
    if len(columns) < 6 or not (is_number(columns[1]) and is_number(columns[3])):
        return 0, 0
    return int(columns[1]) // 1024, int(columns[3]) // 1024


def _reach(lines: Lines) -> Reach:
    """How the API was reached. Where nothing resolves names by itself, what failed to fetch tells whether they do."""
    said = lines.text("api")
    dns = lines.one("dns")
    unresolved = UNRESOLVED.search(said)
    works: bool | None = dns == "0" if dns else None
    if works is None and lines.one("api_tool"):
        works = not unresolved
    is_done = lines.one("api.exit") == "0"
    status = next((int(line) for line in reversed(lines.every("api")) if re.fullmatch(r"[1-5][0-9]{2}", line)), 0)
    if is_done and lines.one("api_tool") == "wget":
        status = 200  # wget prints none, and ends with 0 only then
    refused = re.search(r"HTTP(?: Error|/[0-9.]+) ([45][0-9]{2})", said)
    return Reach(
        dns=works,
        tool=lines.one("api_tool"),
        status=status or (int(refused[1]) if refused else 0),
        error="" if is_done else _last_words(lines),
        proxies=lines.every("proxy"),
    )


def _last_words(lines: Lines) -> str:
    """What a tool said when it failed: the last line, which of a Python traceback is the error itself."""
    words = [line for line in lines.every("api") if not re.fullmatch(r"[0-9]{3}|\s*", line)]
    return words[-1].strip() if words else f"exit status {lines.one('api.exit')}"


def read_owner(text: str) -> Owner:
    """Read an owner file, also a damaged one."""
    said = json_object(text)
    names = ("control_plane", "control_plane_url", "instance_id", "project", "since")
    return Owner(**{name: str(said.get(name) or "")[:SHOWN] for name in names}, text=text[:500])


def _version_in(line: str) -> str:
    version = re.search(r"[0-9][0-9.]*", line)
    return version[0] if version else ""
