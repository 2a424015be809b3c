"""One function from nothing to its first answer: `python -m bench.cold_part NAME [--look]`.

With `--look` it also tells what was loaded: how many modules, and which of those that no function may load at start.
"""

import os
import sys
from importlib import import_module

from bench.events import first
from bench.quiet import answer, quietly

HANDLERS = {
    "api": "app:app",
    "authorizer": "chalicelib.api.auth:authorizer",
    "provision": "chalicelib.workflows.provision:provision",
    "teardown": "chalicelib.workflows.teardown:teardown",
    "on_timer": "chalicelib.workflows.timers:on_timer",
    "projector": "chalicelib.workflows.projector:projector",
    "sweep": "chalicelib.workflows.timers:sweep",
    "reconcile": "chalicelib.workflows.reconcile:reconcile",
    "catalog": "chalicelib.workflows.catalog:catalog",
}
HEAVY = frozenset({"azure", "paramiko", "numpy", "rich", "google", "kubernetes"})
EC2 = f"{os.sep}data{os.sep}ec2{os.sep}"
"""Part of the path of botocore's EC2 model, 10 MB of JSON."""

opened: list[str] = []


def main() -> None:
    """Start one function."""
    name, look = sys.argv[1], "--look" in sys.argv
    if look:
        sys.addaudithook(lambda what, given: opened.append(str(given[0])) if what == "open" else None)
    module, _, attribute = HANDLERS[name].partition(":")
    with quietly():
        handler = getattr(import_module(module), attribute)
        try:
            handler(first(name), None)
        except Exception as error:
            if name != "authorizer" or str(error) != "Unauthorized":
                raise
    if look:
        heavy = sorted({each.partition(".")[0] for each in sys.modules} & HEAVY)
        heavy += ["the EC2 model"] if any(EC2 in path for path in opened) else []
        answer({"modules": len(sys.modules), "heavy": heavy})


if __name__ == "__main__":
    main()
