"""Adopting from where the client runs: the control plane says what is to be done, the system's ssh carries it.

The control plane keeps how far it is, so this may be ended anywhere, and the same command again goes on from there.
"""

from __future__ import annotations

from itertools import count
from shutil import rmtree
from tempfile import mkdtemp

from tidepool.errors import HostChecksFailedError, InputError, UnavailableError
from tidepool.host_outcomes import READY, ended, ended_check
from tidepool.host_results import ADDED, ORDERED, THERE, Result
from tidepool.host_uploaded import Notes
from tidepool.progress import Patience
from tidepool.ssh_children import Children
from tidepool.ssh_connection import SSH_FAILED, Connection
from tidepool.ssh_failures import CHECKS, UNREACHABLE, failure_of, jump_failure, own_words
from tidepool.ssh_ways import describe_way
from tidepool.text import clean, clipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from tidepool.command import Session
    from tidepool.errors import TidepoolError
    from tidepool.host_wire import HostRequest, HostStep, Jump, StepResult
    from tidepool.hosts_side_by_side import Tell
    from tidepool.ssh_connection import Ran
    from tidepool.ssh_destination import Destination
    from tidepool.ssh_options import SshWords
    from tidepool.wire import Instance

DEFAULT_PORT = 22
GREETING = "tidepool-shell"
SHORTEST_PAUSE_S = 0.2
MOST_ERROR_TEXT = 16_000
"""Characters of a script's complaints that are handed in."""


class Here:
    """The way from here to hosts, for a `with` block. `asks`: somebody is there whom ssh may ask."""

    def __init__(self, session: Session, options: SshWords, *, asks: bool) -> None:
        self._session = session
        self._options = options
        self._children = Children()
        self._folder = ""
        self._numbers = count(1)
        self._asks = asks
        self.ready: frozenset[tuple[str, str]] = frozenset()
        """Destination and jump host of hosts that are adopted: these are passed over without connecting to them."""

    def __enter__(self) -> Self:
        """Make a folder for what connections share."""
        self._folder = mkdtemp(prefix="tidepool-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._children.end_all()
        rmtree(self._folder, ignore_errors=True)

    def interrupt(self) -> None:
        """End every ssh that runs, and start none any more."""
        self._children.end_all()

    def adopt(
        self,
        destination: Destination,
        more: HostRequest,
        order: Callable[[HostRequest], Instance],
        tell: Tell,
        *,
        wait: bool,
    ) -> Result:
        """Adopt one host, or go on with it. Raises what went wrong."""
        connection = self._looked(destination)
        request = self._request(connection, more)
        if place_of(request) not in self.ready:
            self._connect(connection, destination, tell)
        try:
            instance = order(request)
            if instance["state"] in READY:
                return Result(destination.text, THERE, instance=instance, fingerprint=connection.fingerprint)
            return self._driven(destination, connection, instance, tell, wait=wait)
        finally:
            connection.close()

    def check(self, destination: Destination, more: HostRequest, tell: Tell) -> Result:
        """Look at one host; nothing is changed on it."""
        connection = self._looked(destination)
        self._connect(connection, destination, tell)
        try:
            hosts = self._session.client.hosts
            check_id = hosts.check(self._request(connection, more))["check_id"]
            patience = Patience(self._session, Notes(tell))
            answer = patience.call(hosts.check_step, check_id, {"host_key": connection.fingerprint})
            while not answer["over"]:
                answer = patience.call(hosts.check_step, check_id, self._carried(answer, connection, tell))
            return _known_by(ended_check(destination.text, answer["host"]), connection)
        finally:
            connection.close()

    def _looked(self, destination: Destination) -> Connection:
        """The way to a host, as ssh's configuration has it. Raises what ssh says of its options."""
        connection = self._way(destination, self._options, asks=self._asks)
        looked = connection.look()
        if looked.exit_code:
            words = _first(looked.err) or f"ssh -G ended with {looked.exit_code}"
            raise InputError(f"{destination.text}: {words}", code="ssh-usage")
        return connection

    def _connect(self, connection: Connection, destination: Destination, tell: Tell) -> None:
        """Connect, and see that a shell is there, before anything is ordered. Raises what ssh says."""
        if not self._asks:  # ssh's question comes on a line of its own
            tell("connecting")
        try:
            ran = connection.run(f"echo {GREETING}\n")
            if ran.failed:
                raise problem(ran, connection, destination)
            if GREETING not in ran.out:
                raise HostChecksFailedError(
                    f"{destination.text}: no POSIX shell answers: {_first(ran.err) or 'sh -s said nothing'}",
                    code="no-shell",
                )
        except BaseException:
            connection.close()
            raise
        if not connection.fingerprint:
            connection.fingerprint = connection.shown_fingerprint()

    def _driven(
        self, destination: Destination, connection: Connection, instance: Instance, tell: Tell, *, wait: bool
    ) -> Result:
        """Carry script after script, then wait for the agent, until the control plane says that it is over."""
        hosts, name = self._session.client.hosts, instance["instance_id"]
        patience = Patience(self._session, Notes(tell))
        answer = patience.call(hosts.step, name, {"host_key": connection.fingerprint})
        while not answer["over"]:
            if not answer["script"] and not wait:
                seen = patience.call(self._session.client.instances.get, name)
                return _known_by(
                    Result(destination.text, ORDERED, instance=seen, fingerprint=connection.fingerprint), connection
                )
            answer = patience.call(hosts.step, name, self._carried(answer, connection, tell))
        detail = patience.call(self._session.client.instances.get, name)
        return _known_by(ended(destination.text, detail, how=ADDED), connection)

    def _carried(self, answer: HostStep, connection: Connection, tell: Tell) -> StepResult:
        """Do what a step says: pause, run its script. Answer what to hand in, or the question what comes next."""
        tell(answer["step"])
        if answer["pause_s"] or not answer["script"]:
            self._session.sleep(max(answer["pause_s"], SHORTEST_PAUSE_S))
        if not answer["script"]:
            return {"host_key": connection.fingerprint}
        ran = connection.run(answer["script"], sudo=answer["sudo"], within_s=answer["timeout_s"])
        exit_code, said = ran.exit_code, own_words(ran.err)
        if ran.failed:
            late = f"timed out after {answer['timeout_s']:g} s\n" if ran.late else ""
            exit_code, said = SSH_FAILED, late + own_words(ran.log) + said
        return {
            "step": answer["step"],
            "exit_code": exit_code,
            "stdout": ran.out,
            "stderr": said[-MOST_ERROR_TEXT:],
            "host_key": connection.fingerprint,
        }

    def _request(self, connection: Connection, more: HostRequest) -> HostRequest:
        """What is asked for, with the host as ssh's configuration resolves it: however it is called, it is one host."""
        request: HostRequest = {
            **more,
            "host": connection.host,
            "port": connection.port,
            "user": connection.user,
            "from_here": True,
        }
        describe_way(request, connection, self._hop)
        return request

    def _hop(self, destination: Destination) -> Connection:
        """A jump host as ssh sees it: with the configuration that is used, and no other option of the command line."""
        hop = self._way(destination, self._options.for_jumps(), asks=False)
        hop.look()
        return hop

    def _way(self, destination: Destination, options: SshWords, *, asks: bool) -> Connection:
        folder, number, environ = self._folder, next(self._numbers), self._session.environ
        return Connection(
            destination, options, self._children, folder=folder, number=number, asks=asks, environ=environ
        )


def place_of(request: HostRequest) -> tuple[str, str]:
    """Destination and jump host as the API writes them: the port only where it is not ssh's own."""
    return _place(request), _place(request["jump"]) if "jump" in request else ""


def _place(where: HostRequest | Jump) -> str:
    name = f"{where['user']}@{where['host']}"
    return name if where["port"] == DEFAULT_PORT else f"{name}:{where['port']}"


def _known_by(result: Result, connection: Connection) -> Result:
    """Note which key ssh has accepted, and whether it knew that one before."""
    result.fingerprint = result.fingerprint or connection.fingerprint
    result.is_new_key = connection.is_new_key
    return result


def problem(ran: Ran, connection: Connection, destination: Destination) -> TidepoolError:
    """Why ssh could not do what it should, as the error to end with."""
    if ran.late:
        return UnavailableError(f"{destination.text}: no connection within the time limit", code="unreachable")
    on_the_way = jump_failure(ran.log, ran.err, connection.jumps, connection.configuration)
    found = on_the_way or failure_of(f"{ran.log}\n{ran.err}", connection.words, connection.known_as)
    made: Mapping[int, type[TidepoolError]] = {CHECKS: HostChecksFailedError, UNREACHABLE: UnavailableError}
    context = {"fix": found.fix} if found.fix else {}
    return made.get(found.exit_code, InputError)(f"{destination.text}: {found.words}", code=found.code, context=context)


def _first(text: str) -> str:
    lines = [line.strip() for line in own_words(text).splitlines() if line.strip()]
    return clipped(clean(lines[0]), 300) if lines else ""
