"""`journalctl` of a lab's host: what a unit's processes printed."""

import sys

words = sys.argv[1:]
units = [words[n + 1] for n, word in enumerate(words[:-1]) if word in {"-u", "--unit"}]
units += [word.partition("=")[2] for word in words if word.startswith("--unit=")]
counts = [words[n + 1] for n, word in enumerate(words[:-1]) if word in {"-n", "--lines"}]
for unit in units:
    name = unit if "." in unit else f"{unit}.service"
    try:
        with open(f"/run/lab/journal/{name}") as file:
            lines = file.readlines()
    except OSError:
        sys.stdout.write("-- No entries --\n")
        continue
    sys.stdout.writelines(lines[-int(counts[0]) :] if counts else lines)
