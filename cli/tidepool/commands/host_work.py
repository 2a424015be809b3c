"""What adopting and checking have in common: one host or many, by either way, told as it happens."""

from __future__ import annotations

from contextlib import ExitStack

from tidepool.errors import ConflictError, TidepoolError
from tidepool.host_outcomes import READY
from tidepool.host_requests import Uploads, implied_name, more_of
from tidepool.host_results import ADDED, CHECKED, Result, result_lines, show_checks, summary, worst
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


ENDS_SOON_S = 20.0
"""How long an instance that is about to be gone is waited for: one on whose host nothing was done takes seconds."""
LOOK_S = 1.0
COMPARE = "compare it on the host: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"


class Look:
    """A look at each host. `work` is done in threads, everything else by the caller."""

    def __init__(self, args: Namespace, session: Session, asked: Asked) -> None:
        self.args = args
        self.session = session
        self.asked = asked
        self.here: Here | None = None
        self.requests: dict[str, HostRequest] = {}
        self._new: set[str] = set()
        self._by_text = {destination.text: destination for destination in asked.destinations}

    def prepare(self, stack: ExitStack) -> None:
        """Make what is shared, and every request: what is wrong with the arguments is told before anything is done."""
        _ = self.session.client  # it is made on first use, and threads would make several
        if self.asked.from_here:
            self.here = stack.enter_context(_way_from_here(self.session, self.asked, as_json=self.args.json))
            return
        uploads = Uploads(self.args, self.session, self.asked)
        for destination in self.asked.destinations:
            request, note = uploads.request(destination)
            self.requests[destination.text] = {**request, **more_of(self.args)}
            self.session.out.note(clean(note))
        self._new = uploads.new

    def work(self, text: str, tell: Tell) -> Result:
        """Do one host."""
        if self.here:
            return self.here.check(self._by_text[text], more_of(self.args), tell)
        from tidepool.host_uploaded import check

        return self._with_trust(check(self.session, text, self.requests[text], tell))

    def _with_trust(self, result: Result) -> Result:
        """Note whether the control plane had a key to hold the host's against."""
        result.is_new_key = bool(result.fingerprint) and result.host in self._new
        return result

    def half_done(self) -> list[str]:
        """What an interruption leaves, in sentences."""
        return []

    def key_words(self, result: Result) -> str:
        """A sentence about the key that a host has shown."""
        if not result.fingerprint:
            return ""
        words = f"host key {result.fingerprint}"
        of_jump = f"; the jump host showed {result.jump_fingerprint}" if result.jump_fingerprint else ""
        return (f"{words} was trusted on first use; {COMPARE}" if result.is_new_key else words) + of_jump


class Adoption(Look):
    """The adoption of each host."""

    def __init__(self, args: Namespace, session: Session, asked: Asked) -> None:
        super().__init__(args, session, asked)
        self._begun: dict[str, str] = {}
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
            tell(step)

        try:
            result = self._adopted(self._by_text[text], told)
        except TidepoolError:
            self._begun.pop(text, None)
            raise
        self._begun.pop(text, None)
        return result

    def half_done(self) -> list[str]:
        if self.here:
            return [
                f"{host}: half done at {self._steps.get(host, 'the beginning')}; the same command again goes on, "
                f"`tidepool pool rm {instance}` undoes it"
                for host, instance in list(self._begun.items())
            ]
        return [
            f"{host} goes on without being watched (tidepool instance show {instance}, tidepool pool rm {instance})"
            for host, instance in list(self._begun.items())
        ]

    def _adopted(self, destination: Destination, tell: Tell) -> Result:
        def order(request: HostRequest) -> Instance:
            instance = self._ordered(destination, request)
            self._begun[destination.text] = instance["name"]
            return instance

        if self.here:
            return self.here.adopt(destination, more_of(self.args), order, tell, wait=self.args.wait)
        from tidepool.host_uploaded import adopt

        request = self.requests[destination.text]
        done = adopt(self.session, destination.text, lambda: order(request), tell, wait=self.args.wait)
        return self._with_trust(done)

    def _ordered(self, destination: Destination, request: HostRequest) -> Instance:
        """Order the adoption, under the host's own name where that is free, else under a made-up one."""
        adopt = self._adopt
        if self.args.name:
            return adopt(self.pool, {**request, "name": self.args.name})
        if own := implied_name(destination):
            try:
                return adopt(self.pool, {**request, "name": own})
            except ConflictError as error:
                if set(error.context.get("differences") or ("name",)) != {"name"}:
                    raise
        return adopt(self.pool, request)

    def _adopt(self, pool: str, request: HostRequest) -> Instance:
        """Ask for it; what an instance that is about to be gone still has is waited for a while."""
        until = self.session.monotonic() + ENDS_SOON_S
        while True:
            try:
                return self.session.client.hosts.adopt(pool, request)
            except ConflictError as error:
                if not error.context.get("ending") or self.session.monotonic() > until:
                    raise
            self.session.sleep(LOOK_S)


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
                interrupt=what.here.interrupt if what.here else _nothing,
            )
        except KeyboardInterrupt:
            telling.progress.clear()
            for line in what.half_done():
                session.out.note(clean(line))
            raise
        finally:
            telling.progress.clear()
    order = {text: at for at, text in enumerate(texts)}
    results.sort(key=lambda result: order[result.host])
    if session.out.as_json:
        session.out.json([result.document() for result in results])
        return worst(results)
    return telling.finish(results)


class Telling:
    """What people see: of one host its steps, its checks and its row; of many a line each, and a sum."""

    def __init__(self, what: Look, texts: list[str]) -> None:
        self._what = what
        self._out = what.session.out
        self._texts = texts
        self._width = max(map(len, texts))
        self._steps: dict[str, str] = {}
        self._ended = 0
        self.progress = Progress(what.session)

    def told(self, host: str, step: str) -> None:
        """One host has come to a step."""
        if len(self._texts) == 1:
            self.progress.status(f"{host}: {step}")
            return
        self._steps[host] = step
        if self._out.watches:
            under_way = ", ".join(f"{name}: {at}" for name, at in list(self._steps.items())[:4])
            self.progress.status(f"{self._ended} of {len(self._texts)} done; {under_way}")

    def ended(self, result: Result) -> None:
        """One host is done."""
        self._ended += 1
        self._steps.pop(result.host, None)
        if len(self._texts) > 1:
            self.progress.clear()
            for line in result_lines(result, self._width):
                self._out.line(line)
            if result.is_new_key:
                self._out.line(f"{'':<{self._width}}    {self._what.key_words(result)}")

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
            self._out.line(f"{result.host} can be adopted")
        return 0


def _nothing() -> None:
    """There is nothing to end: the control plane goes on by itself."""


def _way_from_here(session: Session, asked: Asked, *, as_json: bool) -> Here:
    from tidepool.host_from_here import Here

    alone = len(asked.destinations) == 1
    return Here(session, asked.words, asks=alone and not as_json and session.stdin.isatty())
