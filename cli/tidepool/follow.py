"""Following a run: its log as it comes, what happens before there is one, and what Ctrl-C means meanwhile."""

from __future__ import annotations

from tidepool.api.runs import ENDS, QUICKEST_POLL_S, SLOWEST_POLL_S
from tidepool.errors import TidepoolError, UnavailableError
from tidepool.failure import under_way_text
from tidepool.node_output import WAITING, Output
from tidepool.progress import Patience, Progress
from tidepool.rows import HOST_BACKEND
from tidepool.text import clean, duration_text, moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from tidepool.command import Session
    from tidepool.wire import Attempt, LogChunk, Run

ATTEMPTS_EVERY_S = 1.0
FIRST_ATTEMPT_EVERY_S = 0.25
LAST_WORDS_S = 30.0
"""How long to wait for the rest of an ended run's log, and for the end of a run that was told to stop."""
SLOWEST_GRACE_S = 3600.0
SILENCE_EVERY_S = 5.0
"""How often it is asked whether a machine on which a run does not begin is heard of."""
SILENT_AFTER_S = 60.0
"""Two regular syncs of a host's agent."""
NOT_BEGUN = ("ready", "waiting")
SHOWN = 3
INTERRUPTED = 130
NOT_STARTED = 125
"""The machine could not start the job, of which there is no exit code then; containers' tools end so, too."""
EXIT_CODES = {
    "no-capacity": 7,
    "provisioning-failed": 7,
    "no-idle-instance": 6,
    "machine-lost": 8,
    "machine-removed": 8,
    "not-picked-up": 8,
    "start-failed": NOT_STARTED,
    "user-stopped": INTERRUPTED,
    "interrupted": 8,
    "max-duration": INTERRUPTED,
}


def exit_code(run: Run) -> int:
    """The exit code that a run's end means: the job's own, or one for why there is none.

    A job that ended with 0 when it was stopped, or its machine was taken back, did not say that it had finished.
    """
    code = run["exit_code"]
    if code is not None and (code or run["state"] == "done"):
        return 128 - code if -128 < code < 0 else code & 0xFF or int(code != 0)
    return 0 if run["state"] == "done" else EXIT_CODES.get(run["reason"], 1)


class Follower:
    """Writes a run's log to `sink` until the run is over. Where it stands survives an interruption."""

    def __init__(self, session: Session, run: str, sink: BinaryIO, node: int | None = None) -> None:
        self._session = session
        self._run = run
        self._sink = sink
        self._output = Output(self._read, node)
        self._wait_s = QUICKEST_POLL_S
        self._attempts_at = 0.0
        self._silence_at = 0.0
        self._silence: dict[str, str] = {}
        self._provisions = False
        self._knows_purchase = False
        self._progress = Progress(session)
        self._patience = Patience(session, self._progress)

    def follow(self, within_s: float | None = None) -> Run:
        """Return the run as it ended, or as it stands when `within_s` is over."""
        started = self._session.monotonic()
        ended_at: float | None = None
        try:
            while True:
                data, run, is_complete = self._output.poll()
                self._look_back(run)
                self._write(data)
                now = self._session.monotonic()
                if is_complete:
                    return run
                if run["state"] in ENDS:
                    ended_at = now if ended_at is None or data else ended_at
                    if now - ended_at > LAST_WORDS_S:
                        self._progress.note("the end of the log has not come; it may be incomplete")
                        return run
                if within_s is not None and now - started > within_s:
                    return run
                self._show(run, now)
                self._pause(run, quiet=not data)
        finally:
            self._progress.clear()

    def _read(self, rank: int, after: int) -> tuple[bytes, LogChunk]:
        return self._patience.call(self._session.client.runs.log_chunk, self._run, after, node=rank)

    def _write(self, data: bytes) -> None:
        if data:
            self._progress.clear()
            self._sink.write(data)
            self._sink.flush()

    def _show(self, run: Run, now: float) -> None:
        if run["state"] not in WAITING and run["state"] != "starting":
            self._progress.clear()
            return
        every_s = ATTEMPTS_EVERY_S if self._knows_purchase else FIRST_ATTEMPT_EVERY_S
        if run["state"] in WAITING and now - self._attempts_at > every_s:
            self._attempts_at = now
            attempts = self._patience.call(self._session.client.runs.get, self._run).get("attempts") or []
            under_way = self._progress.purchases(attempts)
            self._knows_purchase = self._knows_purchase or under_way is not None
            what = under_way_text(under_way) if under_way else "no idle instance matches, provisioning one"
            self._progress.status(f"run {run['name']}: {what}")
        elif run["state"] == "starting" and self._wait_s > 4 * QUICKEST_POLL_S:
            self._progress.status(f"run {run['name']}: starting{self._places(run, now)}")

    def _places(self, run: Run, now: float) -> str:
        """Where a run has not begun yet, and since when such a machine was not heard of."""
        jobs = run.get("jobs")
        places = [job["instance"] for job in jobs if job["state"] in NOT_BEGUN] if jobs else [run["instance"]]
        missing = [place for place in places if place]
        if now - self._silence_at > SILENCE_EVERY_S:
            self._silence_at = now
            self._silence = {each["instance_id"]: self._silence_of(each["instance_id"]) for each in missing[:SHOWN]}
        told = [each["name"] + self._silence.get(each["instance_id"], "") for each in missing[:SHOWN]]
        more = [f"{len(missing) - SHOWN} more"] if len(missing) > SHOWN else []
        return f" on {'; '.join(told + more)}" if told else ""

    def _silence_of(self, instance_id: str) -> str:
        try:
            instance = self._session.client.instances.get(instance_id)
        except TidepoolError:
            return ""  # the run itself is what is followed here
        silent_s = self._session.now() - moment(instance["seen_at"]) if instance["seen_at"] else 0.0
        if not instance["unreachable"] and (instance["backend"] != HOST_BACKEND or silent_s < SILENT_AFTER_S):
            return ""
        whole_minutes_s = max(silent_s // 60, 1) * 60
        return f", which has not been heard of for {duration_text(whole_minutes_s)}"

    def _look_back(self, run: Run) -> None:
        """Say what was bought when that went too quickly to be seen."""
        self._provisions = self._provisions or run["state"] == "provisioning"
        if run["state"] in WAITING or self._knows_purchase or not self._provisions:
            return
        self._knows_purchase = True
        client = self._session.client
        try:
            attempts = client.runs.get(self._run).get("attempts")
            if not attempts and run["instance"]:
                attempts = client.instances.get(run["instance"]["instance_id"])["attempts"]
        except TidepoolError:
            return  # the run itself goes on, and is what is followed here
        self._progress.purchases(attempts or ())

    def untold(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """The attempts whose failure was not shown while following."""
        return self._progress.untold(attempts)

    def _pause(self, run: Run, *, quiet: bool) -> None:
        if not quiet:
            self._wait_s = QUICKEST_POLL_S
        self._session.sleep(self._wait_s)
        most = SLOWEST_POLL_S / 4 if run["state"] in WAITING else SLOWEST_POLL_S
        self._wait_s = min(self._wait_s * 1.3, most)


def attend(session: Session, run: Run, follower: Follower, *, grace_s: float) -> tuple[Run | None, int]:
    """Follow a run of ours: an interrupt is a question. Answer the run as it ended, if it did, and the exit code."""
    while True:
        try:
            ended = follower.follow()
            return ended, exit_code(ended)
        except KeyboardInterrupt:
            choice = ask_what_now(session, run["name"])
        except BrokenPipeError:
            session.out.note(
                f"nobody reads the output any more; run {run['name']} goes on (tidepool stop {run['name']})"
            )
            return None, INTERRUPTED
        except UnavailableError:
            session.out.note(f"run {run['name']} goes on without being watched (tidepool logs -f {run['name']})")
            raise
        if choice == "detach":
            session.out.note(f"run {run['name']} goes on (tidepool logs -f {run['name']}, tidepool stop {run['name']})")
            return None, INTERRUPTED
        if choice == "stop":
            return stop_and_see(session, run, follower, grace_s), INTERRUPTED


def ask_what_now(session: Session, name: str) -> str:
    """Ask what an interrupt was meant to do: `stop`, `detach` or `continue`. A second interrupt means stop."""
    out = session.out
    if out.as_json or not (session.stdin.isatty() and out.stderr.isatty()):
        return "stop"
    choices = {"s": "stop", "stop": "stop", "d": "detach", "detach": "detach", "c": "continue", "continue": "continue"}
    try:
        while True:
            out.stderr.write(f"\nrun {name} is not over. [s]top it, [d]etach and let it run, or [c]ontinue watching? ")
            out.stderr.flush()
            line = session.stdin.readline()
            if not line:
                return "detach"
            if answer := choices.get(line.strip().lower()):
                return answer
    except KeyboardInterrupt:
        out.stderr.write("\n")
        return "stop"


def stop_and_see(session: Session, run: Run, follower: Follower, grace_s: float) -> Run | None:
    """Stop a run and show what it still says; one more interrupt ends it by force. Answer it as it ended, if it did."""
    name = run["name"]
    session.out.note(f"stopping run {name}; Ctrl-C again kills it")
    try:
        session.client.runs.stop(name)
        ended = follower.follow(within_s=min(grace_s, SLOWEST_GRACE_S) + LAST_WORDS_S)
    except KeyboardInterrupt:
        try:
            session.client.runs.stop(name, force=True)
            session.out.note(f"run {name} is being killed")
        except TidepoolError as error:
            session.out.note(f"run {name} could not be killed: {clean(error.detail)}")
        return None
    if ended["state"] not in ENDS:
        session.out.note(f"run {name} is still stopping")
        return None
    return ended
