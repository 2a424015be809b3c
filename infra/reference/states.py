"""`states.md`: the lifecycle of instances, runs and attempts, and the timers behind it."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from chalicelib.domain.lifecycle import RESTING, TRANSITIONS, Event, Reason, State
from chalicelib.domain.model import RUN_ENDS, AttemptState, RunReason, RunState
from chalicelib.domain.timers import DEADLINE_KIND, TimerKind
from chalicelib.store.journal import FOLLOWS
from infra.reference import words
from infra.reference.markdown import code, codes, table
from infra.reference.markdown import page as whole


def page() -> str:
    """Make the page."""
    return whole(
        "States, events, reasons and timers",
        INTRO,
        diagram(),
        "## States of an instance",
        _states(),
        FLAGS,
        "## Transitions",
        _transitions(),
        "## Events",
        _words(("event", "what happened, and who says so"), Event, words.EVENTS),
        "## Reasons",
        _words(("reason", "meaning"), Reason, words.REASONS),
        "## Timers",
        TIMERS,
        _timers(),
        "## States of a run",
        _runs(),
        "## Reasons of a run",
        _words(("reason", "meaning"), RunReason, words.RUN_REASONS),
        "## States of an attempt",
        ATTEMPTS,
        _attempts(),
    )


def diagram() -> str:
    """The lifecycle as a Mermaid diagram: one arrow for each pair of states, labelled with its events."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (source, event), target in TRANSITIONS.items():
        arrows.setdefault((source, target), []).append(event.value)
    lines = [f"    {source} --> {target}: {', '.join(events)}" for (source, target), events in arrows.items()]
    body = "\n".join(["stateDiagram-v2", "    [*] --> pending", *lines, "    terminated --> [*]"])
    return f"```mermaid\n{body}\n```"


def _states() -> str:
    rows = []
    for state in State:
        kind = DEADLINE_KIND.get(state)
        rests = "yes" if state in RESTING else "no"
        rows.append((code(state), words.STATES[state], rests, code(kind) if kind else ""))
    return table(("state", "meaning", "may rest", "timer behind its deadline"), rows)


def _transitions() -> str:
    rows = []
    for source in State:
        targets = {event: TRANSITIONS[source, event] for event in Event if (source, event) in TRANSITIONS}
        rows += [(code(source), code(event), code(target)) for event, target in targets.items()]
    return table(("from", "event", "to"), rows)


def _timers() -> str:
    rows = []
    for kind in TimerKind:
        stands = codes(state for state in State if DEADLINE_KIND.get(state) is kind)
        when, owner, action = words.TIMERS[kind]
        rows.append((code(kind), stands, when, owner, action))
    return table(("kind", "deadline of", "due", "filed by", "when it fires"), rows)


def _runs() -> str:
    rows = [(code(state), words.RUN_STATES[state], "yes" if state in RUN_ENDS else "no") for state in RunState]
    return table(("state", "meaning", "an end"), rows)


def _attempts() -> str:
    rows = []
    for state in AttemptState:
        sources = FOLLOWS.get(state, frozenset())
        rows.append((code(state), words.ATTEMPTS[state], codes(each for each in AttemptState if each in sources)))
    return table(("state", "meaning", "may come after"), rows)


def _words(header: tuple[str, str], members: Iterable[StrEnum], meanings: Mapping[Any, str]) -> str:
    return table(header, [(code(member), meanings[member]) for member in members])


INTRO = """\
From `chalicelib/domain/lifecycle.py`: one literal table of (state, event) to state. Nothing writes a state that
the table does not allow. Every transition is one conditional write on the row that the decision was made on,
raises the row's `fence` by one, and is kept in the instance's history with actor and reason."""

FLAGS = """\
Beside the state there are three flags, which change without a new fence. `unreachable`: the agent was not heard
of for `TIDEPOOL_UNREACHABLE_S`, or said that it ends; its next sync ends the flag. `cordoned`: set and ended by a
user; no new work is placed there. `interrupted`: the provider takes the machine back, at `ends_at`; nothing unsays
it, an idle instance ends at once and a busy one with its job. Each keeps an idle instance from being taken."""

TIMERS = """\
Nobody cancels a timer: whoever acts on one reads the row again, and a timer with another fence than the row's
does nothing. A timer whose row has a later deadline by now is filed again for that moment. The sweep deletes
what is due each minute, and DynamoDB's TTL what the sweep left; both leave the same stream record, on which
`on-timer` acts ([concurrency.md](../concurrency.md#timers))."""

ATTEMPTS = """\
The intent is written before the provider is called. `intent` and `unknown` owe a look-up by the attempt's id
before anything else is bought. Nothing comes after `cleaned`."""
