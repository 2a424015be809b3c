"""`lspci` of a lab's host: a network card, and the GPUs that are on its bus whether or not there is a driver."""

import json
import sys

with open("/usr/libexec/lab/machine.json") as file:
    DRIVER = json.load(file)["driver"]

DEVICES = [("00:03.0", "Ethernet controller", "0200", "Red Hat, Inc.", "1af4", "Virtio network device", "1000")]
for number, gpu in enumerate(DRIVER["gpus"] if DRIVER else [], start=1):
    DEVICES.append(
        (f"{number:02x}:00.0", "3D controller", "0302", "NVIDIA Corporation", "10de", gpu["pci_name"], gpu["pci_id"])
    )

with_numbers = any(word.startswith("-") and "nn" in word for word in sys.argv)
vendors = [sys.argv[n + 1].partition(":")[0] for n, word in enumerate(sys.argv[:-1]) if word == "-d"]
for slot, kind, kind_id, vendor, vendor_id, name, name_id in DEVICES:
    if vendors and vendor_id not in vendors:
        continue
    if with_numbers:
        sys.stdout.write(f"{slot} {kind} [{kind_id}]: {vendor} {name} [{vendor_id}:{name_id}] (rev a1)\n")
    else:
        sys.stdout.write(f"{slot} {kind}: {vendor} {name} (rev a1)\n")
