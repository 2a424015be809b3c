"""What a person sees while something takes its time: a line rewritten, or without a terminal a line for each change."""

from __future__ import annotations

from tidepool.errors import UnavailableError
from tidepool.failure import attempt_line, offer_text, under_way_text
from tidepool.text import clean, duration_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import ParamSpec, Protocol, TypeVar

    from tidepool.command import Session
    from tidepool.wire import Attempt

    P = ParamSpec("P")
    T = TypeVar("T")

    class Notes(Protocol):
        """Where to say something that stays."""

        def note(self, text: str) -> None: ...


PATIENCE_S = 300.0
"""How long a lost API is waited for while something is followed."""
CLEAR_LINE = "\r\x1b[K"
FAILED = frozenset({"refused", "cleaned"})


class Progress:
    """Status on stderr, with the time since the start."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._out = session.out
        self._since = session.monotonic()
        self._shown = ""
        self._dirty = False
        self._told: set[str] = set()
        self._bought: set[str] = set()

    def status(self, text: str) -> None:
        """Say what is going on now."""
        text = clean(text)
        if self._out.watches:
            spent = duration_text(self._session.monotonic() - self._since)
            self._out.stderr.write(f"{CLEAR_LINE}{text} ({spent})")
            self._out.stderr.flush()
            self._dirty = True
        elif text != self._shown:
            self._out.note(text)
        self._shown = text

    def note(self, text: str) -> None:
        """Say something that stays."""
        self.clear()
        self._out.note(clean(text))

    def clear(self) -> None:
        """Take the rewritten line away, before something else is written."""
        if self._dirty:
            self._out.stderr.write(CLEAR_LINE)
            self._out.stderr.flush()
            self._dirty = False

    def attempts(self, attempts: Iterable[Attempt], otherwise: str) -> None:
        """Keep a line for each attempt that failed, and show the one under way; `otherwise` when none is."""
        under_way = self.failures(attempts)
        if under_way:
            offer = offer_text(under_way["offer"])
            otherwise = f"attempt {under_way['number']}: {offer}: {under_way_text(under_way)}"
        self.status(otherwise)

    def failures(self, attempts: Iterable[Attempt]) -> Attempt | None:
        """Keep a line for each attempt that failed and was not told yet; answer the one under way, if any."""
        under_way = None
        for attempt in attempts:
            if not attempt["kind"] and attempt["state"] not in FAILED:
                under_way = attempt
            elif self.untold([attempt]):
                self.note(attempt_line(attempt))
        return under_way

    def untold(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """The attempts whose failure was not told yet; they count as told from now on.

        Each instance of a run on several nodes counts its attempts from 1, so the number tells none apart.
        """
        fresh = [attempt for attempt in attempts if attempt["attempt_id"] not in self._told]
        self._told.update(attempt["attempt_id"] for attempt in fresh)
        return fresh

    def purchases(self, attempts: Iterable[Attempt]) -> Attempt | None:
        """Keep a line for each attempt that failed and for the one under way, which is answered."""
        under_way = self.failures(attempts)
        if under_way and under_way["attempt_id"] not in self._bought:
            self._bought.add(under_way["attempt_id"])
            self.note(f"provisioning one: {offer_text(under_way['offer'])}")
        return under_way


class Patience:
    """Makes calls that outlast an API that is away for a while, and says so."""

    def __init__(self, session: Session, progress: Notes) -> None:
        self._session = session
        self._progress = progress

    def call(self, ask: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        """Answer what `ask` answers. Raises `UnavailableError` when the API stays away for `PATIENCE_S`."""
        from tidepool.client import wait_before

        since, tries = self._session.monotonic(), 0
        while True:
            try:
                answer = ask(*args, **options)
            except UnavailableError as error:
                if self._session.monotonic() - since > PATIENCE_S:
                    raise
                if not tries:
                    self._progress.note(f"{error.detail}; trying again")
            else:
                if tries:
                    self._progress.note("the control plane is back")
                return answer
            tries += 1
            self._session.sleep(wait_before(tries))
