"""What runs, and what it said."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from infra.local import daemons
from infra.local.deploy import Emulator
from infra.local.emulator import root_key
from infra.local.folder import PARTS, Folder
from infra.local.parts import STACK, LocalError
from infra.resources import FUNCTIONS

FOLLOW_S: Final = 0.5
PLATFORM: Final = ("START RequestId:", "END RequestId:", "REPORT RequestId:")
"""Lambda's own lines, one of each kind for every invocation."""

TRACEBACK: Final = (" ", "Traceback (")
"""What the lines of a traceback begin with, but for the last one."""


def status(folder: Folder) -> tuple[list[str], bool]:
    """Describe the parts, a line each, and tell whether all of them run."""
    pids = {part: daemons.running(folder.pid(part)) for part in PARTS}
    lines = [f"{part:14}{f'running (process {pid})' if pid else 'not running'}" for part, pid in pids.items()]
    if pids["control-plane"]:
        lines.append(f"{'address':14}{folder.client().get('TIDEPOOL_URL', 'not ready yet')}")
        lines.append(f"{'gave up':14}{_given_up(_emulator(folder))}")
    return lines, all(pids.values())


def logs(folder: Folder, name: str | None, *, lines: int, follow: bool) -> Iterator[str]:
    """Yield the newest lines of a part's or a function's log, or of all functions; with `follow` then for ever.

    More than `lines` when these would begin inside of a traceback.
    """
    if name in PARTS:
        yield from _file(folder, name, lines, follow)
        return
    if name is not None and name not in FUNCTIONS.values():
        raise LocalError(f"there is no {name!r}; functions are {', '.join(FUNCTIONS.values())}")
    functions = [name] if name else list(FUNCTIONS.values())
    client = _emulator(folder).client("logs")
    since = 0
    while True:
        said = (event for function in functions for event in _events(client, function, since))
        # By time alone: lines of one moment keep their order.
        found = sorted(said, key=lambda event: event[0])
        for moment, function, text in found if since else found[_start([text for _, _, text in found], lines) :]:
            yield f"{datetime.fromtimestamp(moment / 1000, tz=UTC):%H:%M:%S.%f}"[:-3] + f" {function}: {text}"
        if not follow:
            return
        since = found[-1][0] + 1 if found else since or 1
        time.sleep(FOLLOW_S)


def _events(client: Any, function: str, since: int) -> Iterator[tuple[int, str, str]]:
    query: dict[str, Any] = {"logGroupName": f"/aws/lambda/{STACK}-{function}", "startTime": since}
    while True:
        try:
            page = client.filter_log_events(**query)
        except client.exceptions.ResourceNotFoundException:
            return
        for event in page["events"]:
            if not event["message"].startswith(PLATFORM):
                yield event["timestamp"], function, event["message"].rstrip()
        if "nextToken" not in page:
            return
        query["nextToken"] = page["nextToken"]


def _file(folder: Folder, part: str, lines: int, follow: bool) -> Iterator[str]:
    path = folder.log(part)
    if not path.exists():
        return
    with path.open(errors="replace") as file:
        said = [line.rstrip("\n") for line in file]
        yield from said[_start(said, lines) :]
        while follow:
            line = file.readline()
            if line:
                yield line.rstrip("\n")
            else:
                time.sleep(FOLLOW_S)


def _start(said: list[str], lines: int) -> int:
    """Where the newest `lines` begin, or a little earlier: a traceback is shown from its head on."""
    start = max(len(said) - lines, 0)
    # Its lines are indented, but for the error at the end, which follows an indented one, and for the head, before
    # which a function's log names the error.
    while 0 < start < len(said) and (said[start].startswith(TRACEBACK) or said[start - 1].startswith(" ")):
        start -= 1
    return start


def _given_up(emulator: Emulator) -> str:
    sqs = emulator.client("sqs")
    try:
        queue = sqs.get_queue_url(QueueName=f"{STACK}-failures")["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])
    except (BotoCoreError, ClientError) as error:
        return f"unknown: {error}"
    return f"{attributes['Attributes']['ApproximateNumberOfMessages']} stream records"


def _emulator(folder: Folder) -> Emulator:
    """The emulator that runs. Raises `LocalError` when none does."""
    address = folder.client().get("TIDEPOOL_URL", "")
    if not address or not daemons.running(folder.pid("control-plane")):
        raise LocalError("the control plane is not running: start it with `make up`")
    return Emulator(urlsplit(address).port or 0, root_key(folder.state))
