"""Run the local cloud: `python -m infra.local.cloud --port P --state DIR`, with the key in the environment or `--key`.

Stops on SIGTERM or SIGINT and leaves the machines on; the next start on the same folder finds them again.
"""

import argparse
import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from infra.local.cloud.fleet import Fleet
from infra.local.cloud.records import Records
from infra.local.cloud.server import CloudServer

STOP_POLL_S: Final = 0.1
KEY_VARIABLE: Final = "TIDEPOOL_LOCAL_CLOUD_KEY"


def _now() -> datetime:
    return datetime.now(UTC)


def _log(event: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"at": _now().isoformat(timespec="milliseconds"), "event": event, **fields}) + "\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local.cloud", description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; the first log line names it")
    parser.add_argument("--state", type=Path, required=True, help="folder of the machines and of machines.json")
    parser.add_argument("--key", default=os.environ.get(KEY_VARIABLE), help=f"default: ${KEY_VARIABLE}")
    parser.add_argument("--poweron", action="store_true", help="start machines again that lost their supervisor")
    parser.add_argument("--max-live", type=int, default=32, help="machines at once (default 32)")
    parser.add_argument("--grace", type=float, default=2.0, help="seconds from SIGTERM to SIGKILL (default 2)")
    given = parser.parse_args()
    if not given.key:
        parser.error(f"a key is needed: --key or ${KEY_VARIABLE}")
    return given


def main() -> int:
    """Serve until told to stop."""
    given = _arguments()
    try:
        records = Records(given.state)
    except BlockingIOError as error:
        _log("refused", detail=str(error))
        return 1
    fleet = Fleet(records, now=_now, log=_log, max_live=given.max_live, grace_s=given.grace, power_on=given.poweron)
    server = CloudServer(given.port, key=given.key, fleet=fleet, log=_log)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, args=(STOP_POLL_S,), name="http", daemon=True).start()
    _log("listening", url=f"http://127.0.0.1:{server.server_port}", pid=os.getpid())
    stop.wait()
    server.shutdown()
    server.server_close()
    fleet.close()
    records.close()
    _log("stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
