"""Deliver the tables' streams to the functions, and expire their items, for as long as the emulator runs.

    python -m infra.local.pump --port 4577 --state .tidepool/state --template .tidepool/build/local.json

On SIGTERM what is in the streams is delivered first. The emulator keeps no stream over a restart, so it is to be
stopped after this.
"""

import argparse
import json
import logging
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

from infra.local.deploy import Emulator
from infra.local.emulator import root_key
from infra.local.expiry import Expiry
from infra.local.localise import of_type
from infra.local.streams import Consumer, mappings

LOOK_S = 0.5


def expiry_of(emulator: Emulator, template: dict[str, Any], *, lag: timedelta) -> Expiry:
    """The time-to-live of the tables of a template: the emulator's CloudFormation ignores it."""
    tables = of_type(template, "AWS::DynamoDB::Table").values()
    attributes = {
        each["TableName"]: each["TimeToLiveSpecification"]["AttributeName"]
        for each in tables
        if "TimeToLiveSpecification" in each
    }
    streamed = {each["TableName"] for each in tables if "StreamSpecification" in each}
    return Expiry(emulator, attributes, streamed=streamed, lag=lag)


def run(emulator: Emulator, template: dict[str, Any], *, checkpoints: Path, lag: timedelta | None, stop: Event) -> bool:
    """Deliver and expire until `stop` is set. `lag` None: nothing expires. False when a part of it died."""
    expiry = expiry_of(emulator, template, lag=lag or timedelta())
    reached = json.loads(checkpoints.read_text()) if checkpoints.exists() else {}
    consumers = {
        each.function: Consumer(emulator, each, stamp=expiry.stamp, after=reached.get(each.function, 0))
        for each in mappings(emulator)
    }
    parts = [Thread(target=each.run, args=(stop,), daemon=True) for each in consumers.values()]
    if lag is not None:
        parts.append(Thread(target=expiry.run, args=(stop,), daemon=True))
    for part in parts:
        part.start()
    while any(part.is_alive() for part in parts):
        if not stop.wait(LOOK_S) and not all(part.is_alive() for part in parts):
            return False
        _store(checkpoints, {name: each.passed for name, each in consumers.items()})
        if stop.is_set():
            for part in parts:
                part.join(LOOK_S)
    return True


def _store(path: Path, reached: dict[str, int]) -> None:
    """Replace the file at once, so that a crash leaves the old or the new one: a record may come twice, never not."""
    text = json.dumps(reached)
    if path.exists() and path.read_text() == text:
        return
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def lag_of(text: str) -> timedelta | None:
    """Read `--ttl-lag`: seconds, or `off`."""
    return None if text == "off" else timedelta(seconds=float(text))


def main() -> None:
    """Run until SIGTERM, SIGINT or the end of the parent named."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.pump", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="the emulator's port")
    parser.add_argument("--state", type=Path, required=True, help="the emulator's state folder")
    parser.add_argument("--template", type=Path, required=True, help="the template that was deployed")
    parser.add_argument("--ttl-lag", type=lag_of, default="0", help="seconds from expiry to delete, or off")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    emulator = Emulator(arguments.port, root_key(arguments.state))
    checkpoints = arguments.state / "checkpoints.json"
    template = json.loads(arguments.template.read_text())
    if not run(emulator, template, checkpoints=checkpoints, lag=arguments.ttl_lag, stop=stop):
        sys.exit("a part of the pump died; see above")


if __name__ == "__main__":
    main()
