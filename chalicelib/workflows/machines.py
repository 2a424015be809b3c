"""Hears what a provider says of its machines: that one is taken back, or has ended.

The rule of the home region's default bus leads here; other regions and accounts forward to that bus
(`docs/operations.md`). What comes twice, late, out of order, or about a stranger's machine changes nothing.
"""

from typing import Any, Final

from chalice.app import Blueprint, CloudWatchEvent

from chalicelib.backends.aws import events
from chalicelib.services import interruptions
from chalicelib.wiring import deps
from chalicelib.workflows.task import task

PATTERN: Final = {"source": [events.SOURCE], "detail-type": sorted(events.SIGNS)}

workers = Blueprint(__name__)


@workers.on_cw_event(PATTERN, name="machine_events")
@task
def machine_events(event: CloudWatchEvent, context: Any) -> dict[str, list[str]]:  # noqa: ARG001 - Lambda's signature
    """Act on one event; answers which instances it was about."""
    known, said = deps(), events.parse(event.to_dict())
    return {"instances": interruptions.heard(known, said) if said else []}
