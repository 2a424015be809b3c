"""`nvidia-smi` of a lab's host: the table, `-L` and `--query-gpu`, or what it says when the driver is in trouble.

The forms are those of driver 550. Source: `nvidia-smi --help-query-gpu`.
"""

import json
import sys

with open("/usr/libexec/lab/machine.json") as file:
    DRIVER = json.load(file)["driver"]


def cells(index, gpu):
    mig = "Enabled" if DRIVER["mig"] else "Disabled" if gpu["compute"] in {"8.0", "9.0"} else "[N/A]"
    return {
        "index": str(index),
        "name": gpu["name"],
        "gpu_name": gpu["name"],
        "memory.total": f"{gpu['memory_mib']} MiB",
        "memory.used": "1 MiB",
        "memory.free": f"{gpu['memory_mib'] - 1} MiB",
        "utilization.gpu": "0 %",
        "driver_version": DRIVER["version"],
        "uuid": uuid(index),
        "gpu_uuid": uuid(index),
        "pci.bus_id": f"00000000:{index + 1:02X}:00.0",
        "compute_cap": gpu["compute"],
        "count": str(len(DRIVER["gpus"])),
        "mig.mode.current": mig,
    }


def uuid(index):
    return f"GPU-{index:08x}-aaaa-bbbb-cccc-0123456789ab"


def query(fields, form):
    rows = [cells(index, gpu) for index, gpu in enumerate(DRIVER["gpus"])]
    if DRIVER["version"] < "450" and "mig.mode.current" in fields:
        rows = [{key: value for key, value in row.items() if key != "mig.mode.current"} for row in rows]
    for field in fields:
        if field not in rows[0]:
            sys.stdout.write(f'Field "{field}" is not a valid field to query.\n')
            return 2
    if "noheader" not in form:
        with_unit = {
            "memory.total": " [MiB]",
            "memory.used": " [MiB]",
            "memory.free": " [MiB]",
            "utilization.gpu": " [%]",
        }
        sys.stdout.write(", ".join(field + with_unit.get(field, "") for field in fields) + "\n")
    for row in rows:
        texts = [row[field] for field in fields]
        if "nounits" in form:
            texts = [text.removesuffix(" MiB").removesuffix(" %") for text in texts]
        sys.stdout.write(", ".join(texts) + "\n")
    return 0


def table():
    version, cuda = DRIVER["version"], DRIVER["cuda"]
    line = "+" + "-" * 89 + "+\n"
    sys.stdout.write("Sun Nov 22 12:00:00 2026       \n" + line)
    sys.stdout.write(f"| NVIDIA-SMI {version:<22} Driver Version: {version:<14} CUDA Version: {cuda:<9}|\n" + line)
    for index, gpu in enumerate(DRIVER["gpus"]):
        sys.stdout.write(
            f"| {index:>3}  {gpu['name'][:26]:<26} On | 00000000:{index + 1:02X}:00.0 Off |          0 |\n"
        )
        sys.stdout.write(
            f"| N/A   31C    P0    60W / 400W |      1MiB / {gpu['memory_mib']}MiB |      0%      Default |\n"
        )
    sys.stdout.write(line)
    return 0


def main():
    if DRIVER["trouble"]:
        sys.stdout.write(DRIVER["trouble"] + "\n")
        return DRIVER["exit_code"]
    options = dict(word.partition("=")[::2] for word in sys.argv[1:])
    if "--query-gpu" in options:
        return query([field.strip() for field in options["--query-gpu"].split(",")], options.get("--format", "csv"))
    if "-L" in options or "--list-gpus" in options:
        for index, gpu in enumerate(DRIVER["gpus"]):
            sys.stdout.write(f"GPU {index}: {gpu['name']} (UUID: {uuid(index)})\n")
            if DRIVER["mig"]:
                sys.stdout.write("  MIG 3g.20gb     Device  0: (UUID: MIG-11111111-aaaa-bbbb-cccc-0123456789ab)\n")
        return 0
    return table()


sys.exit(main())
