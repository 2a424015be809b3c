"""The parts of a probe about Docker and NVIDIA: what `docker info`, `nvidia-smi` and the bus said, as facts."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from chalicelib.domain.hosts import Docker, FoundGpu, Nvidia
from chalicelib.ssh.reading import Lines, is_number

GPU_COLUMNS: Final = ("index", "name", "memory.total", "driver_version", "uuid", "mig.mode.current")
"""What the script asks for, memory in MiB. A driver before 450 has no last one."""

MOST_GPUS: Final = 400
"""The script prints so many lines of a command at most."""

LONGEST_NAME: Final = 100

CUDA: Final = re.compile(r"CUDA(?: UMD)? Version\s*:\s*(\d+)\.(\d+)")
"""In the box that plain `nvidia-smi` draws; `N/A` where libcuda is not installed. Newer drivers write `CUDA UMD`."""

DRIVER_FILE: Final = re.compile(r".*?Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s")
"""In /proc/driver/nvidia/version: `NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 …`."""

COMPUTES: Final = re.compile(r"\[03(?:00|02|80)\]|\[0x03(?:00|02|80)[0-9a-f]{2}\]|3D controller|VGA compatible|Display")
"""PCI class 03: VGA, 3D and display controllers. A card's audio and USB functions are not of it."""


def docker_of(lines: Lines) -> Docker:
    """Say what there is of Docker: its client's path and version, and `docker info` as root and as the user."""
    path = lines.one("docker")
    if not path:
        return Docker()
    version = re.search(r"(?:version|Version) v?(\d[\w.+~-]*)", lines.text("docker_client"))
    as_root, as_user = _info(lines, "docker_root"), _info(lines, "docker_user")
    is_rootless = "name=rootless" in _names(as_user.get("SecurityOptions"))
    asked_root = bool(lines.every("docker_root.exit"))
    # Where sudo was refused, what the user reaches is the system's daemon, unless it says that it is the user's own.
    daemon = as_root if asked_root or is_rootless else as_user
    return Docker(
        client=version[1] if version else "unknown",
        daemon=str(daemon.get("ServerVersion") or ""),
        by_user=bool(as_user.get("ServerVersion")),
        runtimes=tuple(sorted(_names(list(_object(daemon.get("Runtimes")))))),
        devices=tuple(str(each["ID"]) for each in _list(daemon.get("DiscoveredDevices")) if "ID" in _object(each)),
        is_rootless=is_rootless,
        is_snap=path.startswith("/snap/"),
        is_podman="podman" in lines.text("docker_client").casefold(),
        error=_complaint(lines, "docker_root" if asked_root else "docker_user"),
    )


def nvidia_of(lines: Lines) -> Nvidia:
    """Say what there is of NVIDIA. A line of `nvidia-smi` that is no GPU is kept as its error, and never skipped."""
    rows = [(line, _gpu_columns(line)) for line in lines.every("gpu")[:MOST_GPUS] if line.strip()]
    answered = [columns for _, columns in rows if columns]
    banner = CUDA.search(lines.text("banner"))
    from_file = DRIVER_FILE.match(f"{lines.one('driver')} ")
    return Nvidia(
        cards=tuple(line.strip() for line in lines.every("pci") if COMPUTES.search(line)),
        gpus=tuple(_gpu(columns) for columns in answered),
        driver=answered[0][3] if answered else (from_file[1] if from_file else ""),
        cuda=(int(banner[1]), int(banner[2])) if banner else (),
        has_smi=bool(lines.every("gpu.exit")),
        error=_smi_error([line.strip() for line, columns in rows if not columns], lines.one("gpu.exit")),
        toolkit=_toolkit(lines),
        is_embedded=lines.one("embedded") == "nvidia",
    )


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object; anything else is an empty one."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return _object(said)


def _gpu_columns(line: str) -> list[str]:
    """The columns of a GPU's line; none where the line is something else, such as an error."""
    columns = [column.strip() for column in line.split(",")]
    is_gpu = (
        len(columns) in (len(GPU_COLUMNS) - 1, len(GPU_COLUMNS))
        and all(columns)
        and is_number(columns[0])
        and re.fullmatch(r"[\d.]+", columns[3])
        and not re.search(r"\s", columns[4])
    )
    return columns if is_gpu else []


def _gpu(columns: Sequence[str]) -> FoundGpu:
    memory = columns[2].partition(" ")[0]
    return FoundGpu(
        index=int(columns[0]),
        name=columns[1][:LONGEST_NAME],
        memory_mib=int(memory) if is_number(memory) else 0,  # [N/A] or [Not Supported]: shared with the system
        uuid=columns[4],
        is_split="".join(columns[5:]).casefold() == "enabled",
    )


def _smi_error(words: Sequence[str], exit_status: str) -> str:
    if words:
        return "; ".join(words)
    return f"nvidia-smi ended with {exit_status}" if exit_status not in {"", "0"} else ""


def _toolkit(lines: Lines) -> str:
    """Its number: `NVIDIA Container Toolkit CLI version 1.15.0`, or of older ones `cli-version: 1.13.5`."""
    if not lines.every("toolkit.exit"):
        return ""
    version = re.search(r"version:?\s+v?(\d+\.\d+[\w.~-]*)", lines.text("toolkit"))
    return version[1] if version else "unknown"


def _info(lines: Lines, key: str) -> dict[str, Any]:
    """The JSON of `docker info`. Warnings and errors come before or after it on the same output."""
    return next((json_object(line) for line in lines.every(key) if line.startswith("{")), {})


def _complaint(lines: Lines, key: str) -> str:
    said = [line for line in lines.every(key) if line.strip() and not line.startswith("{")]
    said += _names(_info(lines, key).get("ServerErrors"))
    return said[0].strip() if said and lines.one(f"{key}.exit") != "0" else ""


def _names(values: object) -> list[str]:
    return [str(each) for each in _list(values)]


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
