"""What it takes to look at a host over SSH before it is adopted. Goal 22."""

from collections.abc import Iterator
from typing import Final

from bench.processes import part
from bench.records import Goal, Record, record
from bench.session import Effort, Session

HOSTS: Final = 20
ANCHOR: Final = "at least 0.3 s + sleeps of 3 s: 7 commands, 2 uploads (dstack 0.18.11, read)"


def preflight(session: Session) -> Iterator[Record]:
    """Connection and the one script for facts and checks, on a loopback sshd, beside the floor on the same one."""
    hosts = 2 if session.effort is Effort.ONCE else HOSTS
    found = part("bench.ssh_part", str(session.rounds(20)), str(hosts))
    steps = list(zip(found["connect_s"], found["look_s"], strict=True))
    ratios = [sum(step) / floor for step, floor in zip(steps, found["floor_s"], strict=True)]
    yield record("ssh preflight: x floor", ratios, "x", Goal(2, "at most 2 x connection + 1 command"), ANCHOR)
    yield record("ssh preflight", [sum(step) * 1e3 for step in steps], "ms", None, ANCHOR)
    yield record("ssh preflight: connect", [connected * 1e3 for connected, _ in steps], "ms")
    yield record("ssh preflight: script", [looked * 1e3 for _, looked in steps], "ms")
    yield record("ssh floor: connection + 1 command", [floor * 1e3 for floor in found["floor_s"]], "ms")
    yield record(f"ssh preflight of {hosts} hosts at once", [found["together_s"]], "s", None, "one after the other")
