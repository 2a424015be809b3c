"""Run the fake AWS: `python -m tests.fakes.aws --port 0 --state DIR`. The first line it prints is its URL.

With `--state` its instances are real machines: folders there, in which the user data runs. SIGTERM ends them.
"""

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.fakes.aws.server import AwsServer
from tests.fakes.aws.world import World
from tests.fakes.machines import Machines


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.aws", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--state", type=Path, help="folder of the machines; without it instances run nothing")
    given = parser.parse_args()
    machines = Machines(given.state / "machines") if given.state else None
    server = AwsServer(given.port, World(machines))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, args=(0.1,), name="http", daemon=True).start()
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    stop.wait()
    server.shutdown()
    server.server_close()
    if machines is not None:
        machines.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
