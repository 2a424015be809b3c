"""Start the fake by itself: `python -m tests.fakes.azure --port 0 --state DIR`. Its first line is its URL.

What is rented runs for real, each machine in a folder of `--state`. SIGTERM ends the server and all machines.
"""

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.fakes.azure.server import AzureServer
from tests.fakes.machines import Machines


def main() -> int:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.azure", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--state", type=Path, required=True, help="where machines have their folders")
    options = parser.parse_args()
    machines = Machines(options.state)
    server = AzureServer(options.port, machines)
    for number in (signal.SIGTERM, signal.SIGINT):
        # `shutdown` waits for the loop that the handler interrupts, so it needs a thread of its own.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    print(server.url, flush=True)  # noqa: T201 - whoever started it reads this
    server.serve_forever(poll_interval=0.1)
    server.server_close()
    machines.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
