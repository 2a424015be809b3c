"""What adopting and checking have in common: one host or many, by either way, told as it happens."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from threading import Event

from tidepool.errors import AuthError, TidepoolError
from tidepool.host_orders import order
from tidepool.host_outcomes import READY
from tidepool.host_requests import Uploads, implied_name, more_of
from tidepool.host_results import ADDED, CHECKED, Result, interrupted, result_lines, show_checks, summary, worst
from tidepool.hosts_side_by_side import side_by_side
from tidepool.progress import Progress
from tidepool.text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from tidepool.command import Session
    from tidepool.host_arguments import Asked
    from tidepool.host_from_here import Here
    from tidepool.host_wire import HostRequest
    from tidepool.hosts_side_by_side import Tell
    from tidepool.ssh_destination import Destination
    from tidepool.wire import Instance


COMPARE = "compare it on the host: cat /etc/ssh/ssh_host_*_key.pub | ssh-keygen -lf -"


class Look:
    """A look at each host. `work` is done in threads, everything else by the caller."""

    PINS = False
    """Whether a key that was not known is held against the host from now on."""

    def __init__(self, args: Namespace, session: Session, asked: Asked) -> None:
        self.args = args
        self.session = session
        self.asked = asked
        self.here: Here | None = None
        self.requests: dict[str, HostRequest] = {}
        self._new: set[str] = set()
        self._keys: dict[str, tuple[str, str]] = {}
        self._due: dict[str, str] = {}
        self.is_interrupted = Event()
        self._by_text = {destination.text: destination for destination in asked.destinations}

    def prepare(self, stack: ExitStack) -> None:
        """Make what is shared, and every request: what is wrong with the arguments is told before anything is done."""
        _ = self.session.client  # it is made on first use, and threads would make several
        if self.asked.from_here:
            require_manager(self.session)
            self.here = stack.enter_context(_way_from_here(self.session, self.asked, as_json=self.args.json))
            return
        uploads = Uploads(self.args, self.session, self.asked, pins=self.PINS)
        for destination in self.asked.destinations:
            request, *of_keys = uploads.request(destination)
            self.requests[destination.text] = {**request, **more_of(self.args)}
            self._keys[destination.text] = (of_keys[0], of_keys[1])
        self._new = uploads.new

    def work(self, text: str, tell: Tell) -> Result:
        """Do one host."""
        if self.here:
            return self.here.check(self._by_text[text], more_of(self.args), tell)
        from tidepool.host_uploaded import check

        shown = partial(self._key_shown, text)
        return self._with_trust(check(self.session, text, self.requests[text], tell, shown))

    def _key_shown(self, text: str, pinned: str = "") -> None:
        """A host has shown its key, which is held against what was sent, and against the one that was `pinned`."""
        own, of_jump = self._keys.pop(text, ("", ""))
        if pinned and text in self._new:
            self._new.discard(text)
            own = f"compared with the key that is pinned: {pinned}"
        if own:
            self._due[text] = f"{text}: host key {own}{of_jump}"

    def key_note(self, text: str) -> str:
        """What is to be said of a host's key now, once: nothing before a host was connected to."""
        return self._due.pop(text, "")

    def _with_trust(self, result: Result) -> Result:
        """Note whether the control plane had a key to hold the host's against."""
        result.is_new_key = bool(result.fingerprint) and result.host in self._new
        return result

    def half_done(self) -> list[Result]:
        """What an interruption leaves."""
        return []

    def interrupt(self) -> None:
        """End what is waited for."""
        self.is_interrupted.set()
        if self.here:
            self.here.interrupt()

    def key_words(self, result: Result) -> str:
        """A sentence about the key that a host has shown."""
        if not result.fingerprint:
            return ""
        words = f"host key {result.fingerprint}"
        how = "was trusted on first use" if self.PINS else "was not known here, and is not pinned by a check"
        of_jump = f"; the jump host showed {result.jump_fingerprint}" if result.jump_fingerprint else ""
        return (f"{words} {how}; {COMPARE}" if result.is_new_key else words) + of_jump


class Adoption(Look):
    """The adoption of each host."""

    PINS = True

    def __init__(self, args: Namespace, session: Session, asked: Asked) -> None:
        super().__init__(args, session, asked)
        self._begun: dict[str, Instance] = {}
        self._steps: dict[str, str] = {}

    def prepare(self, stack: ExitStack) -> None:
        super().prepare(stack)
        self.pool = self.session.client.pools.resolve(self.args.pool or "")
        if self.here:
            self.here.ready = frozenset(
                (host["host"]["destination"], host["host"]["jump"])
                for host in self.session.client.hosts.list()
                if host["instance"]["state"] in READY
            )

    def work(self, text: str, tell: Tell) -> Result:
        """Do one host. One that was interrupted stays among those that are begun."""

        def told(step: str) -> None:
            self._steps[text] = step
            if self.is_interrupted.is_set():
                raise InterruptedError("interrupted")
            tell(step)

        try:
            result = self._adopted(self._by_text[text], told)
        except TidepoolError:
            self._begun.pop(text, None)
            raise
        if not self.is_interrupted.is_set():  # else nobody hears of the result any more
            self._begun.pop(text, None)
        return result

    def half_done(self) -> list[Result]:
        return [
            interrupted(
                host, instance, f"half done at {self._steps.get(host, 'the beginning')}; the same command again goes on"
            )
            if self.here
            else interrupted(
                host,
                instance,
                f"its adoption goes on, without being watched (tidepool instance show {instance['name']})",
            )
            for host, instance in list(self._begun.items())
        ]

    def _adopted(self, destination: Destination, tell: Tell) -> Result:
        def ordered(request: HostRequest) -> Instance:
            instance = order(
                self.session, lambda wanted: self.session.client.hosts.adopt(self.pool, wanted), request,
                name=self.args.name or "", own=implied_name(destination), tell=tell, is_over=self.is_interrupted.is_set,
            )  # fmt: skip
            self._begun[destination.text] = instance
            return instance

        if self.here:
            return self.here.adopt(destination, more_of(self.args), ordered, tell, wait=self.args.wait)
        from tidepool.host_uploaded import adopt

        request = self.requests[destination.text]
        shown = partial(self._key_shown, destination.text)
        done = adopt(self.session, destination.text, lambda: ordered(request), tell, shown, wait=self.args.wait)
        return self._with_trust(done)


def carry_out(what: Look) -> int:
    """Do it on all hosts, tell of it, and answer the exit code of the worst."""
    session = what.session
    with ExitStack() as stack:
        what.prepare(stack)
        texts = [destination.text for destination in what.asked.destinations]
        telling = Telling(what, texts)
        try:
            results = side_by_side(
                texts,
                what.work,
                most=what.args.parallel,
                told=telling.told,
                ended=telling.ended,
                interrupt=what.interrupt,
            )
        except KeyboardInterrupt:
            telling.interrupted()
            raise
        finally:
            telling.progress.clear()
    places = {text: at for at, text in enumerate(texts)}
    results.sort(key=lambda result: places[result.host])
    if session.out.as_json:
        session.out.json([result.document() for result in results])
        return worst(results)
    return telling.finish(results)


def require_manager(session: Session) -> None:
    """Raise `AuthError` before any ssh runs whose result the control plane would not take from this token."""
    me = session.client.me()
    if me["role"] not in ("manager", "admin"):
        raise AuthError(
            f"the role {me['role']} is not enough to adopt or check hosts: it takes manager", code="forbidden"
        )


class Telling:
    """What people see: of one host its steps, its checks and its row; of many a line each, and a sum."""

    def __init__(self, what: Look, texts: list[str]) -> None:
        self._what = what
        self._out = what.session.out
        self._texts = texts
        self._width = max(map(len, texts))
        self._steps: dict[str, str] = {}
        self._troubles: dict[str, str] = {}
        self._results: list[Result] = []
        self.progress = Progress(what.session)

    def told(self, host: str, step: str) -> None:
        """One host has come to a step."""
        self._note_key(host)
        if len(self._texts) == 1:
            self.progress.status(f"{host}: {step}")
            return
        self._steps[host] = step
        self._note_trouble(host, step)
        if self._out.watches:
            under_way = ", ".join(f"{name}: {at}" for name, at in list(self._steps.items())[:4])
            self.progress.status(f"{len(self._results)} of {len(self._texts)} done; {under_way}")

    def ended(self, result: Result) -> None:
        """One host is done."""
        self._note_key(result.host)
        self._results.append(result)
        self._steps.pop(result.host, None)
        if len(self._texts) > 1:
            self.progress.clear()
            for line in result_lines(result, self._width):
                self._out.line(line)
            if result.is_new_key:
                self._out.line(f"{'':<{self._width}}    {self._what.key_words(result)}")

    def _note_trouble(self, host: str, step: str) -> None:
        """Keep a line for what keeps one of several hosts waiting, `preflight, try 2: no route to host`, once each."""
        trouble = step.partition(": ")[2]
        if trouble and trouble != self._troubles.get(host):
            self._troubles[host] = trouble
            self.progress.note(f"{host}: {step}")

    def _note_key(self, host: str) -> None:
        if note := self._what.key_note(host):
            self.progress.note(note)

    def interrupted(self) -> None:
        """Somebody has had enough: say what goes on, and how it is undone. For a program that is a document, too."""
        self.progress.clear()
        left = self._what.half_done()
        if self._out.as_json:
            self._out.json([result.document() for result in (*self._results, *left)])
        for result in left:
            if result.error:
                self._out.note(clean(f"{result.error.detail}; `{result.error.context['fix']}` undoes it"))

    def finish(self, results: list[Result]) -> int:
        """All are done."""
        if len(results) > 1:
            self._out.line(summary(results))
            return worst(results)
        (result,) = results
        show_checks(self._out, result.checks)
        if result.error:
            raise result.error
        if words := self._what.key_words(result):
            self._out.note(f"{result.host}: {words}")
        if result.how not in (ADDED, CHECKED):
            self._out.note(f"{result.host}: {result.how}")
        if result.instance:
            from tidepool.commands.pool_add import show_row

            show_row(self._what.session, result.instance)
        else:
            is_ours = any(check["code"] == "adopted-here" for check in result.checks)
            self._out.line(f"{result.host} {'is adopted already' if is_ours else 'can be adopted'}")
        return 0


def _way_from_here(session: Session, asked: Asked, *, as_json: bool) -> Here:
    from tidepool.host_from_here import Here

    alone = len(asked.destinations) == 1
    return Here(session, asked.words, asks=alone and not as_json and session.stdin.isatty())
