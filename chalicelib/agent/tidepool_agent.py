"""The tidepool agent: one file, standard library only, Python 3.8 or newer, Linux or macOS.

It runs on every machine of a pool and only calls out. `POST /v1/agent/sync` tells the control plane what is and
answers what should be; the agent makes it so. Any sync may be lost or repeated, and the agent may die at any moment.

Four parts, so that a job needs none of the others to run, to be recorded and to end:

- the agent: registers, syncs, uploads output, stops what is not wanted (one thread; all state is on disk)
- the listener: a thread that waits for a wake-up, so that the agent need not ask every second
- the watch: a thread that asks the provider whether it takes this machine back
- the spawner: forked from the agent before its first thread, because only a process without threads forks safely
- a supervisor for each job, forked by the spawner (1 ms, where a new interpreter takes 50): keeps the output, stops the
  job when told to, ends what is left of its process group and records the exit code. It outlives the agent.

Under `$TIDEPOOL_HOME`: `agent.json` (identity, 0600), `contact.json` (last contact and the dead-man's limits), `bell`
(a FIFO; a byte in it means "look"), `undertaken.json` (how often it was told to leave its host), and `jobs/<run id>/`
with `job.json` (what is wanted), `lock` (held by the supervisor while it lives), `process.json` (which processes; no
job runs unless it is there), `stop` (seconds to SIGKILL, and a line for the output), `interrupted` (it was stopped
because the machine is taken back), `output.log`, `sent` (how far the log is stored), `end.json` (how it ended),
`notice/` (what the job may read about its machine) and `code/`.

A service manager must not kill the whole process tree when the agent ends (systemd: `KillMode=process`).

Environment: `TIDEPOOL_URL`, `TIDEPOOL_BOOTSTRAP` (single-use token), `TIDEPOOL_HOME`, `TIDEPOOL_POWEROFF` (shell
command; empty on a machine that nobody pays for: no dead-man switch), `TIDEPOOL_CA` (a PEM file to trust),
`TIDEPOOL_NOTICE` (where the provider says that it takes the machine back: `aws`, `azure`, `file`, or empty) and
`TIDEPOOL_METADATA_URL` (where it is asked, instead of the address that clouds have it at). On an adopted host also
`TIDEPOOL_MARK` (what every process of ours carries in its environment, jobs included: by that an uninstallation finds
them).
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import email.utils
import fcntl
import hashlib
import http.client
import json
import os
import platform
import random
import re
import secrets
import select
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, NoReturn

    Json = dict[str, Any]

SYNC_LIMIT_S = 30.0
"""API Gateway answers within 29 s or not at all."""
CONNECTION_REST_S = 50.0
"""A connection that rested longer is not used again: load balancers and NAT drop idle ones silently, from 60 s on."""
ANSWER_LIMIT = 4 << 20
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 30.0
DEAF_DELAY_S = 20.0
"""The longest time between syncs while wake-ups cannot be heard."""
HEIR_DELAY_S = 2.0
"""The same while the last poll of an agent that was here before may still be open: it takes wake-ups to its grave."""
FAREWELL_S = 2.0
START_GRACE_S = 0.025
"""A job that just started may have something to say at once; one sync then carries both."""
LOOK_S = 1.0
"""How often a running job is looked at although the bell did not ring."""

LONG_POLL_S = 20.0
POLL_LIMIT_S = LONG_POLL_S + 10
POLL_BURST = 20.0
"""So many polls may follow each other at once, for a user who starts one run after the other; then one a second."""
SHORTEST_URL_S = 2.0
"""A wake-up URL that lives shorter is no use: it would be asked for again and again."""

CHUNK = 512 << 10
CHUNKS_A_SYNC = 2
"""Two chunks in base64 are 1.4 MB; the API takes 2 MB."""
PACE_FIRST_S = 0.02
PACE_LAST_S = 1.0
QUIET_S = 3.0
DETAIL_LIMIT = 1000
STALLED = 5
"""So many syncs in a row without progress of the log, and the end is reported without the rest of the log."""

LOG_LIMIT = 1 << 30
CODE_LIMIT = 512 << 20
CODE_TRIES = 3
CODE_PATIENCE_S = 60.0
"""A job's code is asked for at least so often, and for at least so long: longer than a control plane takes to start.
Where each try hangs until its own limit, the machine waits for no more than three of them."""

KILL_AFTER_S = 10.0
DOCKER_GRACE_S = 10.0
GRACE = "{grace}"
STUBBORN_S = 30.0
"""How long killed processes may take to vanish (a GPU driver needs seconds) before that is reported as it is."""

UTC = datetime.timezone.utc  # noqa: UP017 - Python 3.8 has no other name for it

NOTICE_EVERY_S = 5.0
"""How often the provider is asked. Source: EC2 and Azure recommend 5 s and 1 s; a notice is 2 minutes or 30 s long."""
METADATA_URL = "http://169.254.169.254"
METADATA_LIMIT_S = {"aws": 2.0, "azure": 130.0}
"""The first look at Azure's scheduled events may take 2 minutes, because it turns them on."""
TOKEN_LIVES_S = 6 * 3600
OVER_REST_S = 300.0
"""The longest that the agent of a host rests before it ends because it is not wanted: its service manager, or the loop
that stands for one, starts it again 5 s later, and it asks again."""
UNINSTALL_AGAIN_S = 5.0
"""The shortest time until an agent that could not be uninstalled asks again, twice as long each time."""
AZURE_NOTICE_S = 30.0
"""What is left of a machine whose event has begun, and names no moment any more."""
LONGEST_NOTICE_S = 3600.0
END_MARGIN_S = 10.0
"""Between SIGKILL and the end of the machine: for the last output."""

DEFAULT_LIMITS: Json = {"idle": 0.0, "leaderless": 1800.0}
"""Until the first sync: a rented machine that never reaches its control plane must not bill for ever."""

OWN_VARIABLES = ("URL", "BOOTSTRAP", "HOME", "POWEROFF", "CA", "AGENT_SHA256", "NOTICE", "METADATA_URL")
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


# --- small tools ------------------------------------------------------------------------------------------------------


def event(name: str, **fields: Any) -> None:
    """Write one JSON line to stderr. Never a URL with a query, an environment or a token: those are secrets."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with contextlib.suppress(OSError):  # a full disk, or nobody who listens: no reason to end
        sys.stderr.write(json.dumps({"at": at, "event": name, **fields}) + "\n")
        sys.stderr.flush()


def describe(error: BaseException) -> str:
    """Say what went wrong without the texts of libraries that quote URLs."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return describe(error.reason)
    words = error.strerror if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def write_atomically(path: str, text: str, *, durable: bool = False) -> None:
    """Replace a file in one step, readable by its owner only. `durable`: it also survives a power cut."""
    new = path + ".new"
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    os.replace(new, path)
    if durable:
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def read_json(path: str) -> Json | None:
    """Read a JSON object. None when the file is missing or cut short by a power cut."""
    try:
        with open(path) as file:
            content = json.load(file)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def ask(*commands: list[str], limit_s: float = 20.0) -> list[str]:
    """Run commands side by side and return what each printed: the empty text if it is missing, fails or hangs."""
    running = []
    for argv in commands:
        try:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            running.append(subprocess.Popen(argv, **pipes))  # type: ignore[call-overload]
        except OSError:
            running.append(None)
    give_up_at = time.monotonic() + limit_s
    texts = []
    for process in running:
        text = b""
        if process is not None:
            try:
                text = process.communicate(timeout=max(0.1, give_up_at - time.monotonic()))[0]
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        texts.append(text.decode(errors="replace") if process is not None and process.returncode == 0 else "")
    return texts


def boot_id() -> str:
    """Name the boot of this machine, so that process ids and the monotonic clock of another boot are not mistaken."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ask(["sysctl", "-n", "kern.bootsessionuuid"])[0].strip()


def started(pid: int) -> str:
    """When a process was started, or the empty text when there is none. With the boot it tells a reused id apart.

    Source: field 22 of /proc/<pid>/stat, proc(5); elsewhere `ps -o lstart=`.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return "" if os.path.isdir("/proc/self") else ask(["ps", "-o", "lstart=", "-p", str(pid)])[0].strip()


def group_lives(group: int) -> bool:
    """Tell whether a process group has members, zombies included."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def signal_group(group: int, number: int) -> None:
    """Signal a process group. One that is gone is fine, and so is one of zombies (macOS: EPERM)."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


class Bell:
    """A FIFO that anybody may ring: supervisors, the listener, signals. A lost ring costs at most `LOOK_S`."""

    def __init__(self, path: str) -> None:
        self.path = path
        if not (os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.mkfifo(path, 0o600)
        self._reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    def ring(self) -> None:
        """Make the agent look. A full FIFO is rung already."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.writer, b"!")

    def wait(self, limit_s: float) -> None:
        """Return when the bell rang since the last wait, at the latest after `limit_s`."""
        if select.select([self._reader], [], [], max(0.0, limit_s))[0]:
            os.read(self._reader, 1 << 16)


def ring_from_outside(path: str) -> None:
    """Ring the bell of an agent that may not be there."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(handle, b"!")
        finally:
            os.close(handle)


# --- a job's folder: what agent and supervisor agree on ---------------------------------------------------------------


class Folder:
    """The files of one job. Who holds the lock decides about it: its supervisor, or an agent that found it free."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.log = os.path.join(path, "output.log")
        self.code = os.path.join(path, "code")
        self.notice = os.path.join(path, "notice")

    def file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def has(self, name: str) -> bool:
        return os.path.exists(self.file(name))

    def lock(self, *, wait: bool = False) -> int | None:
        """Take the lock and return its handle; None when another process holds it or the folder was replaced."""
        try:
            handle = os.open(self.file("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.fstat(handle).st_ino == os.stat(self.file("lock")).st_ino:
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(handle)
        return None

    def end(self) -> Json | None:
        return read_json(self.file("end.json"))

    def record_end(self, state: str, exit_code: int | None = None, detail: str = "", *, lost: bool = False) -> None:
        """Write how the job ended: `exited` with a code, or `failed` with the reason. The first record stays.

        `lost`: it had been started, and its machine or its supervisor ended before it did.
        A job that filled the disk makes room for it: its code folder goes as soon as the end is acknowledged anyway.
        """
        content: Json = {"state": state, "exit_code": exit_code, "detail": detail}
        end = json.dumps({**content, "lost": True} if lost else content)
        if self.end() is not None:
            return
        try:
            write_atomically(self.file("end.json"), end, durable=True)
        except OSError:
            shutil.rmtree(self.code, ignore_errors=True)
            write_atomically(self.file("end.json"), end, durable=True)

    def log_size(self) -> int:
        try:
            return os.stat(self.log).st_size
        except FileNotFoundError:
            return 0


# --- supervisor and spawner -------------------------------------------------------------------------------------------


class CappedLog:
    """Output on disk, up to a limit; then one last line that says so. The first `skip` bytes are known already."""

    def __init__(self, path: str, *, limit: int = LOG_LIMIT, skip: int = 0) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._room = limit - os.fstat(self._handle).st_size
        self._limit = limit
        self._skip = skip
        self._last = b"\n"
        self.trouble = ""

    def say(self, line: str) -> None:
        """Add a line of our own; after a line that the job has not ended it begins a new one."""
        if line:
            self.write((b"" if self._last == b"\n" else b"\n") + line.encode() + b"\n")

    def write(self, data: bytes) -> None:
        if self._skip:
            self._skip, data = max(0, self._skip - len(data)), data[self._skip :]
        if self._room < 0 or not data:
            return
        self._last = data[-1:]
        if len(data) > self._room:
            last_line = f"\ntidepool: the output exceeds {self._limit >> 20} MiB; the rest is not kept\n"
            data = data[: self._room] + last_line.encode()
            self._room = -1
        else:
            self._room -= len(data)
        try:
            while data:
                data = data[os.write(self._handle, data) :]
        except OSError as error:
            self._room = -1
            self.trouble = f"the output is incomplete: {error.strerror}"


class Supervisor:
    """Runs one job to its end, in a session of its own. SIGUSR1 means: read the file `stop`.

    An order is `{"folder", "bell", "argv", "env", "cwd", "skip", "stop_argv", "clean_argv"}`; the last two are for jobs
    that live outside of the process group (containers): how to stop one, and how to make sure that it is gone.
    """

    QUIET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)
    RESET = (*QUIET, signal.SIGUSR1, signal.SIGCHLD, signal.SIGXFSZ)

    def __init__(self, order: Json, folder: Folder) -> None:
        self._order = order
        self._folder = folder
        self._log = CappedLog(folder.log, skip=int(order["skip"]))
        self._output, self._output_end = os.pipe()
        os.set_blocking(self._output, False)
        self._signals, signals_end = os.pipe()
        os.set_blocking(signals_end, False)
        for number in self.QUIET:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self._hear_stop)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(signals_end, warn_on_full_buffer=False)
        self._leader = 0
        self._status: int | None = None
        self._kill_at: float | None = None
        self._give_up_at: float | None = None
        self._told_to_stop = False
        self._open = True
        self._rang_at = 0.0
        self._unheard = False

    def run(self, announce: Callable[[], None]) -> None:
        """Start the job, announce it, follow it, record its end."""
        self._start()
        announce()
        while not self._over():
            ready = select.select([self._signals, *([self._output] if self._open else [])], [], [], self._patience())[0]
            if self._signals in ready:
                os.read(self._signals, 4096)
            if self._told_to_stop:
                self._told_to_stop = False
                self._heed_stop()
            self._copy()
            self._enforce()
        self._copy()
        if self._order["clean_argv"]:
            self._command(self._order["clean_argv"], limit_s=60.0)
        self._record()

    def _start(self) -> None:
        """Fork the job behind a gate: it runs only after the record of it is on disk, and never if we die before."""
        gate, gate_end = os.pipe()
        self._leader = os.fork()
        if self._leader == 0:
            os.close(gate_end)
            self._become_job(gate)
        os.close(self._output_end)
        os.close(gate)
        record: Json = {"boot": boot_id(), "supervisor": os.getpid()}
        record.update(leader=self._leader, started=started(self._leader))
        write_atomically(self._folder.file("process.json"), json.dumps(record))
        os.write(gate_end, b"!")
        os.close(gate_end)

    def _become_job(self, gate: int) -> NoReturn:
        """Execute the job's program, with the exit codes of a shell: 127 not found, 126 not executable."""
        os.setsid()
        for number in self.RESET:
            signal.signal(number, signal.SIG_DFL)
        if not os.read(gate, 1):
            os._exit(0)
        os.dup2(self._output_end, 1)
        os.dup2(self._output_end, 2)
        argv, code = self._order["argv"], 126
        try:
            os.chdir(self._order["cwd"])
            os.execvpe(argv[0], argv, self._order["env"])
        except (FileNotFoundError, NotADirectoryError):
            code, reason = 127, "not found"
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
        os.write(2, f"tidepool: {argv[0]}: {reason}\n".encode(errors="replace"))
        os._exit(code)

    def _patience(self) -> float | None:
        """How long nothing needs to be done although nothing happens."""
        now = time.monotonic()
        waits = [] if self._status is None else [0.02]
        if self._unheard:
            waits.append(self._rang_at + PACE_FIRST_S - now)
        if self._kill_at is not None and self._give_up_at is None:
            waits.append(self._kill_at - now)
        return max(0.0, min(waits)) if waits else None

    def _copy(self) -> None:
        """Move what the job has written to disk and let the agent know, at most every `PACE_FIRST_S`."""
        while self._open:
            try:
                data = os.read(self._output, 1 << 16)
            except BlockingIOError:
                break
            self._open = bool(data)
            self._log.write(data)
            self._unheard = True
            if len(data) < 1 << 16:
                break
        now = time.monotonic()
        if self._unheard and now - self._rang_at >= PACE_FIRST_S:
            ring_from_outside(self._order["bell"])
            self._rang_at, self._unheard = now, False

    def _hear_stop(self, _number: int, _frame: object) -> None:
        self._told_to_stop = True

    def _heed_stop(self) -> None:
        """Begin to stop, or shorten the time to SIGKILL, as the file `stop` says (absent when the disk was full)."""
        grace_s, line = KILL_AFTER_S, ""
        with contextlib.suppress(OSError, ValueError), open(self._folder.file("stop")) as file:
            first, _, line = file.read().partition("\n")
            grace_s = float(first)
        if self._kill_at is None:
            self._log.say(line)
        outside = self._order["stop_argv"]
        kill_at = time.monotonic() + grace_s + (DOCKER_GRACE_S if outside else 0.0)
        if self._kill_at is None and outside:
            self._command([str(int(grace_s)) if word == GRACE else word for word in outside])
        elif self._kill_at is None:
            signal_group(self._leader, signal.SIGTERM)
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)

    def _enforce(self) -> None:
        now = time.monotonic()
        if self._kill_at is not None and now >= self._kill_at and self._give_up_at is None:
            if self._order["clean_argv"]:
                self._command(self._order["clean_argv"])
            signal_group(self._leader, signal.SIGKILL)
            self._give_up_at = now + STUBBORN_S

    def _over(self) -> bool:
        """Tell whether nothing of the job is left, neither in its process group nor detached from it.

        A job that ends by itself takes its group along at once, and that while the dead leader still holds its number,
        so that no stranger can be hit. One that is being stopped leaves the others their time until SIGKILL.
        """
        if self._status is None:
            if not self._leader_ended():
                return False
            if self._kill_at is None:
                signal_group(self._leader, signal.SIGKILL)
                self._give_up_at = time.monotonic() + STUBBORN_S
            if self._status is None:
                self._status = os.waitpid(self._leader, 0)[1]
        late = self._give_up_at is not None and time.monotonic() >= self._give_up_at
        orphans = self._orphans()
        if not group_lives(self._leader):
            for orphan in orphans:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(orphan, signal.SIGKILL)
            return late or not orphans
        return late

    @staticmethod
    def _orphans() -> list[int]:
        """Our living children: what the job left behind. The dead are reaped. Source: proc(5), task/<id>/children."""
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                children = [int(word) for word in file.read().split()]
        except OSError:
            return []
        return [child for child in children if os.waitpid(child, os.WNOHANG)[0] == 0]

    def _leader_ended(self) -> bool:
        if hasattr(os, "waitid"):
            return os.waitid(os.P_PID, self._leader, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        pid, status = os.waitpid(self._leader, os.WNOHANG)  # macOS before Python 3.13 has no waitid
        self._status = status if pid else None
        return bool(pid)

    def _command(self, argv: list[str], limit_s: float | None = None) -> None:
        """Run a command about the job, and wait for it only when there is a limit."""
        quiet = subprocess.DEVNULL
        try:
            process = subprocess.Popen(argv, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
            if limit_s is not None:
                process.wait(limit_s)
        except (OSError, subprocess.TimeoutExpired) as error:
            self._log.trouble = f"{argv[0]} {argv[1]} failed: {type(error).__name__}"

    def _record(self) -> None:
        status = self._status or 0
        code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        details = [self._log.trouble] if self._log.trouble else []
        if group_lives(self._leader):
            details.append(f"processes of the job survived SIGKILL for {STUBBORN_S:.0f} s")
        state = "exited"
        if self._order["clean_argv"] and code == 125:  # `docker run` itself failed. Source: docker run, exit status
            state, details = "failed", ["docker could not run the container; see the end of the log", *details]
        self._folder.record_end(state, code if state == "exited" else None, "; ".join(details))
        ring_from_outside(self._order["bell"])


def adopt_orphans() -> None:
    """Become the parent of what a job leaves behind, however it detached itself. Linux only.

    Without it, orphans go to process 1, which in a container may be anything. Source: prctl(2), PR_SET_CHILD_SUBREAPER.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def supervise(order: Json, announce: Callable[[], None]) -> None:
    """Be the supervisor of one job, unless an agent has already decided otherwise about it."""
    os.setsid()
    adopt_orphans()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    folder = Folder(order["folder"])
    if folder.lock(wait=True) is None or folder.end() is not None:
        return
    try:
        Supervisor(order, folder).run(announce)
    except OSError as error:
        folder.record_end("failed", detail=f"the job could not be supervised: {describe(error)}")


class Spawner:
    """The agent's hand on a process without threads that forks supervisors. It ends when the agent does."""

    LIMIT_S = 20.0

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        if os.fork() == 0:
            self._socket.close()
            os.setsid()
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            try:
                self._serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._socket.settimeout(self.LIMIT_S)

    def start(self, order: Json) -> None:
        """Return when the job runs or its end is recorded. OSError: the spawner is gone, and this agent of no use."""
        self._socket.sendall(json.dumps(order).encode() + b"\n")
        if not self._socket.recv(1):
            raise ConnectionError("the spawner has ended")

    @staticmethod
    def _serve(agent: socket.socket) -> None:
        adopt_orphans()  # of no use here; it pays for the import once, instead of in each supervisor
        handle = agent.fileno()

        def announce() -> None:
            with contextlib.suppress(OSError):  # told already, or the agent has died: both are fine
                os.write(handle, b"+")
                os.close(handle)

        for line in agent.makefile("rb"):
            if os.fork() == 0:
                try:
                    supervise(json.loads(line), announce)
                finally:
                    announce()
                    os._exit(0)


# --- what machine is this ---------------------------------------------------------------------------------------------

GPU_FIELDS = "name,memory.total,driver_version"
VIRTUAL = re.compile(r"(lo|docker|br-|veth|virbr|cni|flannel|cali|podman|lxc)")


def gather_facts(home: str, api_host: str) -> Json:
    """Describe this machine. Sizes in MiB as the system reports them; `disk_mib` is what is free where jobs live.

    `addresses`: the one that reaches the control plane first; never loopback, link-local or of a container bridge.
    """
    gpus, modes, banner, docker, links = ask(
        ["nvidia-smi", f"--query-gpu={GPU_FIELDS}", "--format=csv,noheader,nounits"],
        ["nvidia-smi", "--query-gpu=mig.mode.current", "--format=csv,noheader"],
        ["nvidia-smi"],
        ["docker", "version", "--format", "{{.Server.Version}}"],
        ["ip", "-o", "addr", "show", "scope", "global"],
    )
    cuda = re.search(r"CUDA(?: UMD)? Version\s*:\s*([\d.]+)", banner)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "hostname": socket.gethostname(),
        "os": platform.system().lower(),
        "arch": platform.machine(),
        "kernel": platform.release(),
        "cpus": cpus,
        "memory_mib": memory_mib(),
        "disk_mib": shutil.disk_usage(home).free >> 20,
        "gpus": parse_gpus(gpus, modes),
        "driver": gpus.splitlines()[0].rpartition(",")[2].strip() if gpus.strip() else "",
        "cuda": cuda.group(1) if cuda else "",
        "addresses": addresses(links, api_host),
        "python": platform.python_version(),
        "docker": bool(docker.strip()),
    }


def memory_mib() -> int:
    """The memory of this machine, 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    except (ValueError, OSError):
        return 0


def parse_gpus(table: str, modes: str = "") -> list[Json]:
    """Read the lines that `nvidia-smi` prints for `GPU_FIELDS` (csv, no header, no units); equal GPUs are one entry.

    `modes` are those for `mig.mode.current`, "" of a driver before 450. A GPU in MIG mode is none to use as a whole.
    """
    counts: dict[tuple[str, int], int] = {}
    split = [mode.strip().lower() == "enabled" for mode in modes.splitlines()]
    for index, line in enumerate(table.splitlines()):
        if index < len(split) and split[index]:
            continue
        name, memory, _ = (cell.strip() for cell in line.rsplit(",", 2))
        key = (name, int(memory) if memory.isdigit() else 0)  # unified memory reports "[N/A]"
        counts[key] = counts.get(key, 0) + 1
    return [
        {"name": name, "memory_mib": memory, "count": count, "vendor": "nvidia"}
        for (name, memory), count in counts.items()
    ]


def addresses(links: str, api_host: str) -> list[str]:
    """Read the output of `ip -o addr`; where there is none, only the address that reaches the control plane."""
    found = []
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((api_host, 9))  # sends nothing; the kernel chooses a route
        found.append(probe.getsockname()[0])
    for line in links.splitlines():
        words = line.split()
        passes = words[2:3] == ["inet6"] and "temporary" in words  # gone tomorrow, RFC 8981
        if len(words) > 3 and not VIRTUAL.match(words[1]) and not passes:
            found.append(words[3].partition("/")[0])
    usable = [address for address in found if not address.startswith(("127.", "169.254."))]
    return list(dict.fromkeys(usable))


# --- the line to the control plane ------------------------------------------------------------------------------------


class ApiError(Exception):
    """A call without a usable answer. `status` is the HTTP status, 0 when there was none."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def direct(url: str, limit_s: float, context: ssl.SSLContext) -> Any:
    """Open a URL through no proxy, whatever the environment says: the adoption has tried the way that `Link` takes."""
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    return urllib.request.build_opener(*handlers).open(url, timeout=limit_s)


class Link:
    """One kept connection to the API; `http.client` sets TCP_NODELAY. All calls may be repeated safely."""

    def __init__(self, base: str, context: ssl.SSLContext) -> None:
        parts = urllib.parse.urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("TIDEPOOL_URL must be an http or https URL")
        self.host = parts.hostname
        self._secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._prefix = parts.path.rstrip("/")
        self._context = context
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0
        self._aborted = False

    def post(self, path: str, body: Json, bearer: str, *, limit_s: float = SYNC_LIMIT_S) -> Json:
        """Send JSON and return the answer's. Raises `ApiError`; `limit_s` bounds each wait on the network."""
        payload = json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"}
        try:
            try:
                return self._exchange(path, payload, headers, limit_s)
            except (ConnectionError, http.client.BadStatusLine):
                if not self._used_at or self._aborted:
                    raise
                self.close()  # the server dropped a connection that had been kept; a fresh one tells more
                return self._exchange(path, payload, headers, limit_s)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ApiError(0, describe(error)) from None

    def abort(self) -> None:
        """Make a call that waits for its answer fail now."""
        self._aborted = True
        if self._connection is not None and self._connection.sock is not None:
            with contextlib.suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection, self._used_at = None, 0.0

    def _exchange(self, path: str, payload: bytes, headers: dict[str, str], limit_s: float) -> Json:
        if self._used_at and time.monotonic() - self._used_at > CONNECTION_REST_S:
            self.close()
        if self._connection is None:
            self._connection = self._connect()
        self._connection.timeout = limit_s
        if self._connection.sock is not None:
            self._connection.sock.settimeout(limit_s)
        self._connection.request("POST", self._prefix + path, payload, headers)
        response = self._connection.getresponse()
        text = response.read(ANSWER_LIMIT)
        self._used_at = time.monotonic()
        if response.status != 200:
            self.close()
            raise ApiError(response.status, f"HTTP {response.status}")
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise ApiError(0, "the answer is not a JSON object")
        return answer

    def _connect(self) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self.host, self._port, context=self._context)
        return http.client.HTTPConnection(self.host, self._port)


def growing(doublings: int, most_s: float = LONGEST_DELAY_S) -> float:
    """`FIRST_DELAY_S`, doubled so many times, at most `most_s`."""
    return float(min(most_s, FIRST_DELAY_S * 2 ** min(doublings, 20)))


class Delay:
    """Growing, jittered distances between tries, from `FIRST_DELAY_S` to `LONGEST_DELAY_S`, or to `most_s`."""

    def __init__(self) -> None:
        self.tries = 0

    def next(self, most_s: float = LONGEST_DELAY_S) -> float:
        self.tries += 1
        return growing(self.tries - 1, most_s) * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self.tries = 0


def unwanted_rest_s(times: int) -> float:
    """How long a host waits whose agent was told `times` before to be gone: up to 5 minutes, no two hosts alike."""
    return min(UNINSTALL_AGAIN_S * (1 << min(times, 10)), OVER_REST_S) * random.uniform(0.5, 1.0)


class Interruption:
    """The provider takes this machine back `at` (seconds since the epoch); `ends` is that on the monotonic clock."""

    def __init__(self, at: float, kind: str) -> None:
        left_s = min(max(0.0, at - time.time()), LONGEST_NOTICE_S)
        self.at = time.time() + left_s
        self.ends = time.monotonic() + left_s
        self.kind = kind

    @property
    def left_s(self) -> float:
        return max(0.0, self.ends - time.monotonic())

    @property
    def report(self) -> Json:
        at = datetime.datetime.fromtimestamp(self.at, tz=UTC)
        return {"at": at.isoformat(timespec="milliseconds"), "kind": self.kind}


def epoch(text: str) -> float:
    """Read a moment as clouds write it: ISO 8601 in UTC, or as in mail (RFC 5322). Raises `ValueError`."""
    try:
        moment = datetime.datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        parsed = email.utils.parsedate_tz(text)
        if parsed is None:
            raise
        return float(email.utils.mktime_tz(parsed))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Watch(threading.Thread):
    """Asks the provider every few seconds whether it takes this machine back; the first notice is the one.

    What goes wrong here is told once and asked again: the control plane may hear of it on another way.
    """

    def __init__(self, kind: str, metadata_url: str, bell: Bell) -> None:
        super().__init__(name="watch", daemon=True)
        asked = {"aws": self._ask_aws, "azure": self._ask_azure, "file": self._ask_file}
        self._ask = asked.get(kind)
        self._limit_s = METADATA_LIMIT_S.get(kind, 2.0)
        self._url = (metadata_url or METADATA_URL).rstrip("/")
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self._bell = bell
        self._token = ""
        self._machine = ""
        self._trouble = ""
        self.notice: Interruption | None = None

    def run(self) -> None:
        while self._ask is not None and self.notice is None:
            try:
                self.notice = self._ask() or self.notice
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
                if describe(error) != self._trouble:
                    self._trouble = describe(error)
                    event("notice-unknown", detail=self._trouble)
            if self.notice is None:
                time.sleep(NOTICE_EVERY_S)
        self._bell.ring()

    def hear(self, at: float) -> None:
        """The control plane was told by somebody else."""
        if self.notice is None:
            self.notice = Interruption(at, "control-plane")

    def _ask_aws(self) -> Interruption | None:
        """Source: EC2 user guide, "Spot Instance interruption notices" and "Use IMDSv2"; 404 until there is one."""
        if not self._token:
            lives = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIVES_S)}
            self._token = self._read("/latest/api/token", lives, method="PUT").decode()
        try:
            told = json.loads(
                self._read("/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": self._token})
            )
        except urllib.error.HTTPError as error:
            if error.code == 401:
                self._token = ""
            elif error.code != 404:
                raise
            return None
        return Interruption(epoch(told["time"]), str(told["action"]))

    def _ask_azure(self) -> Interruption | None:
        """Source: Azure, "Scheduled Events for Linux VMs". Other machines of a set are in the same list."""
        known = {"Metadata": "true"}
        if not self._machine:
            path = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
            self._machine = self._read(path, known).decode().strip()
        told = json.loads(self._read("/metadata/scheduledevents?api-version=2020-07-01", known))
        for each in told["Events"]:
            if each["EventType"] in ("Preempt", "Terminate") and self._machine in each["Resources"]:
                at = epoch(each["NotBefore"]) if each.get("NotBefore") else time.time() + AZURE_NOTICE_S
                return Interruption(at, str(each["EventType"]))
        return None

    def _ask_file(self) -> Interruption | None:
        """A simulated provider: the file holds the moment of the end."""
        try:
            with open(os.path.join(os.path.expanduser("~"), "interruption")) as file:
                return Interruption(epoch(file.read()), "file")
        except FileNotFoundError:
            return None

    def _read(self, path: str, headers: Mapping[str, str], method: str = "GET") -> bytes:
        request = urllib.request.Request(self._url + path, headers=dict(headers), method=method)
        with self._open(request, timeout=self._limit_s) as answer:
            return bytes(answer.read(ANSWER_LIMIT))


class Listener(threading.Thread):
    """Waits for wake-ups on the URL of the last sync. What goes wrong here only costs time: the agent syncs anyway."""

    def __init__(self, bell: Bell, context: ssl.SSLContext) -> None:
        super().__init__(name="listener", daemon=True)
        self._bell = bell
        self._context = context
        self._changed = threading.Condition()
        self._url = ""
        self._until = 0.0
        self._woken = threading.Event()
        self._failures = Delay()
        self._credit = POLL_BURST

    @property
    def fails(self) -> bool:
        """Whether the last poll failed, so that a wake-up would not be heard."""
        return self._failures.tries > 0

    def listen(self, url: str, lives_s: float) -> None:
        """Use this URL from now on, until the last poll that it outlives."""
        with self._changed:
            self._url = url if lives_s >= SHORTEST_URL_S else ""
            self._until = time.monotonic() + lives_s - min(LONG_POLL_S, lives_s / 2)
            self._changed.notify()

    def take(self) -> bool:
        """Tell whether there was a wake-up since the last call."""
        woken = self._woken.is_set()
        self._woken.clear()
        return woken

    def run(self) -> None:
        began = time.monotonic()
        while True:
            url = self._next_url()
            self._spend(time.monotonic() - began)
            began = time.monotonic()
            try:
                woken = self._poll(url)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._recover(url, error)
                continue
            if woken or self._failures.tries:  # an answer that was lost may have been a wake-up
                self._wake()
            self._failures.reset()

    def _spend(self, passed_s: float) -> None:
        """Wait if polls end too fast: a queue that answers at once, again and again, must not make us spin."""
        self._credit = min(POLL_BURST, self._credit + passed_s) - 1
        if self._credit < 0:
            time.sleep(1.0)

    def _next_url(self) -> str:
        """Return a URL that outlives the next poll; ask for a sync when there is none left."""
        with self._changed:
            while not self._url or time.monotonic() > self._until:
                if self._url:
                    self._url = ""
                    self._wake()
                self._changed.wait(LONGEST_DELAY_S)
            return self._url

    def _poll(self, url: str) -> bool:
        """Source of the answer's form: SQS, ReceiveMessage, query protocol; a message has a MessageId."""
        with direct(url, POLL_LIMIT_S, self._context) as answer:
            return b"MessageId" in answer.read(ANSWER_LIMIT)

    def _recover(self, url: str, error: Exception) -> None:
        pause_s = self._failures.next()
        event("wake-failed", detail=describe(error), again_in_s=round(pause_s, 1))
        time.sleep(pause_s)
        if isinstance(error, urllib.error.HTTPError) and error.code < 500:  # expired, or made by somebody who may not
            with self._changed:
                if self._url == url:
                    self._url = ""
            self._wake()

    def _wake(self) -> None:
        self._woken.set()
        self._bell.ring()


# --- code archives ----------------------------------------------------------------------------------------------------


class JobError(Exception):
    """Why a job cannot be started; for its owner to read."""


def fetch(url: str, sha256: str, target: str, context: ssl.SSLContext, is_unwanted: Callable[[], bool]) -> None:
    """Download an archive and check its SHA-256. Raises `JobError` when it cannot be had, at once when refused."""
    delay, began = Delay(), time.monotonic()
    while True:
        try:
            _download(url, sha256, target, context, is_unwanted)
            return
        except (OSError, http.client.HTTPException, ValueError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            is_over = delay.tries + 1 >= CODE_TRIES and time.monotonic() - began >= CODE_PATIENCE_S
            if refused or is_over:
                raise JobError(f"the code could not be downloaded: {describe(error)}") from None
            until = time.monotonic() + delay.next()
            while not is_unwanted() and time.monotonic() < until:
                time.sleep(min(LOOK_S, max(0.0, until - time.monotonic())))
            if is_unwanted():
                raise JobError("stopped before it was started") from None


def _download(url: str, sha256: str, target: str, context: ssl.SSLContext, is_unwanted: Callable[[], bool]) -> None:
    digest, size = hashlib.sha256(), 0
    with direct(url, SYNC_LIMIT_S, context) as answer, open(target, "wb") as file:
        for block in iter(lambda: answer.read(1 << 16), b""):
            if is_unwanted():
                raise JobError("stopped before it was started")
            size += len(block)
            if size > CODE_LIMIT:
                raise JobError(f"the code is larger than {CODE_LIMIT >> 20} MiB")
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != sha256.lower():
        raise JobError(f"the code has SHA-256 {digest.hexdigest()}, not {sha256}")


def unpack(archive: str, target: str) -> None:
    """Extract a tar.gz of files, folders and links that stay inside; anything else is refused with its name.

    No member is written through a link, so nothing lands outside; afterwards each link must lead to the inside.
    Owners and set-id bits of the archive are ignored.
    """
    root = os.path.realpath(target)
    links = []
    try:
        with tarfile.open(archive, "r:gz") as content:
            content.extraction_filter = lambda member, _path: member
            for member in content:
                _check(member, root)
                member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
                member.mode = member.mode & 0o777 | (0o700 if member.isdir() else 0o600)
                content.extract(member, root)
                if member.issym():
                    links.append(member.name)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise JobError(f"the code could not be extracted: {describe(error)}") from None
    for name in links:
        if not _is_inside(os.path.realpath(os.path.join(root, name)), root):
            raise JobError(f"the code has a link that leads out: {name}")


def _check(member: tarfile.TarInfo, root: str) -> None:
    parts = member.name.split("/")
    if member.name.startswith("/") or ".." in parts:
        raise JobError(f"the code has a path that leads out: {member.name}")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise JobError(f"the code has a special file: {member.name}")
    for depth in range(1, len(parts) + (0 if member.issym() else 1)):
        if os.path.islink(os.path.join(root, *parts[:depth])):
            raise JobError(f"the code has a path through a link: {member.name}")
    if member.islnk():
        source = os.path.normpath(os.path.join(root, member.linkname))
        if os.path.realpath(source) != source or not _is_inside(source, root):
            raise JobError(f"the code has a link that leads out: {member.name}")


def _is_inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root + os.sep)


# --- jobs -------------------------------------------------------------------------------------------------------------


class Containers:
    """Command lines for Docker. Containers carry the run's name and this instance's label, and outlive their client."""

    def __init__(self, instance_id: str, *, gpus: bool) -> None:
        self._label = f"tidepool.instance={instance_id}"
        self._gpus = gpus

    @staticmethod
    def name(run_id: str) -> str:
        return f"tidepool-{run_id}"

    def run(self, wanted: Json, env: list[str], code: str | None, notice: str) -> list[str]:
        """Run in the foreground. Only the names of variables are on the command line, where anybody can read it."""
        name = self.name(wanted["run_id"])
        command = ["docker", "run", "--name", name, "--label", self._label, "--sig-proxy=false", "--init"]
        if wanted["host_network"]:
            command.append("--network=host")
        if wanted["shared_memory_mib"]:
            command.append(f"--shm-size={wanted['shared_memory_mib']}m")
        if self._gpus:
            command += ["--gpus", "all"]
        command += ["--volume", f"{notice}:/tidepool/notice:ro"]
        if code:
            command += ["--volume", f"{code}:/tidepool/code", "--workdir", "/tidepool/code"]
        for name in env:
            command += ["--env", name]
        return [*command, wanted["image"], *wanted["argv"]]

    def follow(self, run_id: str) -> list[str]:
        """Take up a container whose supervisor was lost: its output from the start, then its exit code."""
        return ["sh", "-c", 'docker logs --follow "$0"; exit "$(docker wait "$0")"', self.name(run_id)]

    def stop(self, run_id: str) -> list[str]:
        """SIGTERM, and SIGKILL after the time that the supervisor puts in for `GRACE`."""
        return ["docker", "stop", "-t", GRACE, self.name(run_id)]

    def remove(self, run_id: str) -> list[str]:
        return ["docker", "rm", "--force", "--volumes", self.name(run_id)]

    def exists(self, run_id: str) -> bool:
        return bool(ask(["docker", "inspect", "--type", "container", self.name(run_id)])[0].strip())

    def remove_strays(self, keep: str = "") -> None:
        """Remove containers of ours, but for the run `keep`. They would hold the GPUs that the next job needs."""
        names = ask(["docker", "ps", "--all", "--filter", f"label={self._label}", "--format", "{{.Names}}"])[0].split()
        strays = [name for name in names if name != self.name(keep)]
        if strays:
            event("stray-containers", names=strays)
            ask(["docker", "rm", "--force", "--volumes", *strays], limit_s=60.0)


TAKEN_BACK = "the machine was taken back before the job was started"


class Job:
    """One run on this machine, from its first mention to the acknowledgement of its end."""

    def __init__(self, folder: Folder, spec: Json) -> None:
        self.folder = folder
        self.run_id = str(spec["run_id"])
        self.image = str(spec.get("image") or "")
        self.kill_after_s = float(spec.get("kill_after_s", KILL_AFTER_S))
        self.end = folder.end()
        self.running = False
        self.preparing = False
        self.failure = ""
        self.unwanted = False
        self.interrupted = folder.has("interrupted")
        self.ready_at = 0.0
        self._asked_to_stop: float | None = None
        self._stored = self._remembered()
        self._pace_s = 0.0
        self._told_at = 0.0
        self._vain = 0

    def report(self, *, with_log: bool) -> tuple[Json, Json | None]:
        """Return the state and the next chunk of output. An end is told together with the last chunk, not before."""
        size = self.folder.log_size()
        data = self._next_chunk() if with_log else b""
        end = self.end if self._stored + len(data) >= size or self._vain >= STALLED else None
        state = {"state": "running" if self.running else "starting", "exit_code": None, "detail": "", **(end or {})}
        state["interrupted"] = self.interrupted
        state["detail"] = state["detail"].encode(errors="replace").decode()[:DETAIL_LIMIT]
        chunk = {"run_id": self.run_id, "offset": self._stored, "data": base64.b64encode(data).decode()}
        return {"run_id": self.run_id, "log_size": size, **state}, chunk if data else None

    def heed(self, offset: int | None, now: float, *, chunk: bool) -> None:
        """Take in how far the log is stored. Being told nothing new makes the next try later."""
        advanced = offset is not None and offset > self._stored
        if offset is not None and offset != self._stored:
            self._stored = min(offset, self.folder.log_size())
            with contextlib.suppress(OSError):  # a later agent then sends some of the log again
                write_atomically(self.folder.file("sent"), str(self._stored))
        if chunk and advanced:
            quiet = now - self._told_at > QUIET_S
            self._pace_s = PACE_FIRST_S if quiet else min(PACE_LAST_S, 2 * self._pace_s)
        if chunk or self.end:
            self._vain = 0 if advanced else self._vain + 1
            self._told_at = now

    def due(self, now: float) -> float:
        """When a sync is due because of this job; infinite when there is nothing to tell."""
        pending = self.folder.log_size() - self._stored
        if not pending and not self.end:
            return float("inf")
        if self._vain:
            return self._told_at + growing(self._vain)
        if self.end or pending >= CHUNK:
            return now
        return self._told_at if now - self._told_at > QUIET_S else self._told_at + self._pace_s

    def interrupt(self, notice: Interruption) -> None:
        """Make it end before its machine does, and let it know how long it has."""
        left_s = notice.left_s
        if not self.interrupted:
            self.interrupted = True
            with contextlib.suppress(OSError):  # a full disk: an agent that comes after this one will not know
                write_atomically(self.folder.file("interrupted"), "")
                with open(os.path.join(self.folder.notice, "interruption.new"), "w") as file:
                    json.dump({"seconds_left": round(left_s), "at": notice.report["at"]}, file)
                os.chmod(file.name, 0o644)
                os.replace(file.name, os.path.join(self.folder.notice, "interruption.json"))
        if self._asked_to_stop is None:
            margin_s = END_MARGIN_S + (DOCKER_GRACE_S if self.image else 0.0)
            line = f"tidepool: this machine is taken back in {left_s:.0f} s"
            self.stop(max(left_s - margin_s, left_s / 2), line)

    def stop(self, kill_after_s: float, line: str = "") -> None:
        """Make it end. Asking again is fine and may shorten the time to SIGKILL. `line` is added to its output."""
        self.unwanted = True
        record = read_json(self.folder.file("process.json"))
        if self.end or not self.running or record is None or self._asked_to_stop == kill_after_s:
            return
        with contextlib.suppress(OSError):
            write_atomically(self.folder.file("stop"), f"{kill_after_s}\n{line}" if line else str(kill_after_s))
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(record["supervisor"]), signal.SIGUSR1)  # it lives: it holds the lock
        if self._asked_to_stop is None:
            event("job-stopping", run_id=self.run_id, kill_after_s=kill_after_s)
        self._asked_to_stop = kill_after_s

    def fail(self, detail: str, *, lost: bool = False) -> None:
        """Record that it could not be run, or that it was `lost`; at least in memory when the disk refuses."""
        with contextlib.suppress(OSError):
            self.folder.record_end("failed", detail=detail, lost=lost)
        unwritten = {"state": "failed", "exit_code": None, "detail": detail}
        self.end = self.folder.end() or ({**unwritten, "lost": True} if lost else unwritten)

    def _next_chunk(self) -> bytes:
        try:
            with open(self.folder.log, "rb") as file:
                file.seek(self._stored)
                return file.read(CHUNK)
        except FileNotFoundError:
            return b""

    def _remembered(self) -> int:
        try:
            with open(self.folder.file("sent")) as file:
                return int(file.read())
        except (OSError, ValueError):
            return 0


class Jobs:
    """All jobs of this machine: at most one that runs, and those whose end is not acknowledged yet."""

    def __init__(self, home: str, bell: Bell, spawner: Spawner, context: ssl.SSLContext) -> None:
        self._home = os.path.join(home, "jobs")
        self._bell = bell
        self._spawner = spawner
        self._context = context
        self._containers = Containers("", gpus=False)
        self._instance_id = ""
        self._strays_possible = False
        self._looked_at = 0.0
        self.interruption: Interruption | None = None
        self._jobs: dict[str, Job] = {}
        os.makedirs(self._home, mode=0o700, exist_ok=True)

    def __iter__(self) -> Iterator[Job]:
        return iter(list(self._jobs.values()))

    @property
    def active(self) -> Job | None:
        """The job that has not ended."""
        return next((job for job in self if not job.end), None)

    def recover(self, instance_id: str, facts: Json) -> None:
        """Find the jobs of an earlier agent on this machine, and what became of them."""
        self._instance_id = instance_id
        self._containers = Containers(instance_id, gpus=bool(facts["gpus"]))
        for name in sorted(os.listdir(self._home)):
            folder = Folder(os.path.join(self._home, name))
            spec = read_json(folder.file("job.json"))
            if spec is None:
                shutil.rmtree(folder.path, ignore_errors=True)
                continue
            job = self._jobs[name] = Job(folder, spec)
            self._judge(job)
            if name in self._jobs:
                event("job-found", run_id=name, running=job.running, end=job.end)
        if facts["docker"]:
            self._containers.remove_strays(keep=self.active.run_id if self.active else "")

    def observe(self, now: float) -> bool:
        """Notice ends and finished preparations; True when there is news to tell."""
        news = False
        thoroughly = now - self._looked_at >= LOOK_S
        for job in self:
            if job.end:
                continue
            job.end = job.folder.end()
            if job.failure:
                job.fail(job.failure)
            if job.end is None and job.running and thoroughly:
                self._judge(job)
            if job.end:
                event("job-ended", run_id=job.run_id, **job.end)
                news = True
        if thoroughly:
            self._looked_at = now
        return news

    def heed(self, wanted: Json | None) -> bool:
        """Make what is wanted true, as far as it can be now; True when there is news to tell."""
        active = self.active
        if active is not None and self.interruption is not None:
            return self._interrupt(active, wanted)
        if active is not None:
            return self._heed_active(active, wanted)
        if wanted is None or wanted["run_id"] in self._jobs:
            return False
        return self._begin(wanted)

    def drop(self, run_id: str) -> None:
        """Forget a job whose end is acknowledged."""
        job = self._jobs.get(run_id)
        if job is not None and job.end:
            del self._jobs[run_id]
            shutil.rmtree(job.folder.path, ignore_errors=True)

    def stop_all(self) -> None:
        """Stop what runs and wait for it, so that a machine is not switched off under a job that is saving its work."""
        job = self.active
        if job is None:
            return
        give_up_at = time.monotonic() + job.kill_after_s + DOCKER_GRACE_S + STUBBORN_S
        while job.end is None and time.monotonic() < give_up_at:
            job.stop(job.kill_after_s)
            self._bell.wait(0.1)
            self.observe(time.monotonic())
            if not (job.preparing or job.running or job.end):
                job.fail("stopped before it was started")

    def _heed_active(self, job: Job, wanted: Json | None) -> bool:
        wants_it = wanted is not None and wanted["run_id"] == job.run_id
        if wants_it and wanted is not None and not wanted["stop"]:
            return not (job.running or job.preparing) and self._launch(job, wanted)
        job.stop(wanted["kill_after_s"] if wants_it and wanted is not None else job.kill_after_s)
        if not (job.running or job.preparing):
            job.fail("stopped before it was started")
            return True
        return False

    def _interrupt(self, job: Job, wanted: Json | None) -> bool:
        """End the job before the machine ends; sooner when it is not wanted any more."""
        assert self.interruption is not None
        job.interrupt(self.interruption)
        if not (job.running or job.preparing):
            job.fail(TAKEN_BACK)
            return True
        wants_it = wanted is not None and wanted["run_id"] == job.run_id
        if wanted is not None and wants_it and wanted["stop"] and wanted["kill_after_s"] < self.interruption.left_s:
            job.stop(wanted["kill_after_s"])
        return False

    def _begin(self, wanted: Json) -> bool:
        """Make the job's folder and start the job, after its preparation when it needs any."""
        folder = Folder(os.path.join(self._home, wanted["run_id"]))
        shutil.rmtree(folder.path, ignore_errors=True)
        spec = {key: wanted[key] for key in ("run_id", "image", "kill_after_s")}
        job = self._jobs[wanted["run_id"]] = Job(folder, spec)
        try:
            os.makedirs(folder.code, mode=0o700)
            os.mkdir(folder.notice)
            os.chmod(folder.notice, 0o755)
            write_atomically(folder.file("job.json"), json.dumps(spec))
        except OSError as error:
            job.fail(f"the job could not be prepared: {describe(error)}")
            return True
        if wanted["stop"]:
            job.fail("stopped before it was started")
            return True
        if self.interruption is not None:
            return self._interrupt(job, wanted)
        if wanted["code_url"] or self._strays_possible:
            job.preparing = True
            threading.Thread(target=self._prepare, args=(job, wanted), daemon=True).start()
            return True
        return self._launch(job, wanted)

    def _prepare(self, job: Job, wanted: Json) -> None:
        """What takes its time before a job: runs in a thread, so that the machine still syncs and hears a stop."""
        try:
            if self._strays_possible:
                self._containers.remove_strays()
                self._strays_possible = False
            if wanted["code_url"]:
                archive = job.folder.file("code.tar.gz")
                fetch(wanted["code_url"], wanted["code_sha256"], archive, self._context, lambda: job.unwanted)
                unpack(archive, job.folder.code)
                os.unlink(archive)
        except JobError as error:
            job.failure = str(error)
        except OSError as error:
            job.failure = f"the job could not be prepared: {describe(error)}"
        finally:
            job.preparing = False
            self._bell.ring()

    def _launch(self, job: Job, wanted: Json) -> bool:
        argv, env = wanted["argv"], self._environment(wanted)
        if job.image and shutil.which("docker") is None:
            job.fail("the job asks for an image, and this machine has no Docker")
            return True
        if job.image:
            self._strays_possible = True
            code = job.folder.code if wanted["code_url"] else None
            names = sorted(self._own_variables(wanted))
            argv = self._containers.run(wanted, names, code, job.folder.notice)
        self._spawn(job, argv, env)
        event("job-started", run_id=job.run_id, image=job.image)
        return True

    def _spawn(self, job: Job, argv: list[str], env: dict[str, str], *, skip: int = 0) -> None:
        order = {"folder": job.folder.path, "bell": self._bell.path, "cwd": job.folder.code, "argv": argv, "env": env}
        stop = self._containers.stop(job.run_id) if job.image else []
        clean = self._containers.remove(job.run_id) if job.image else []
        self._spawner.start({**order, "skip": skip, "stop_argv": stop, "clean_argv": clean})
        job.running = True
        job.ready_at = time.monotonic()

    def _own_variables(self, wanted: Json) -> dict[str, str]:
        """What the job's owner set, and what we say about the run."""
        notice = "/tidepool/notice" if wanted["image"] else Folder(os.path.join(self._home, wanted["run_id"])).notice
        own = {"TIDEPOOL_RUN_ID": wanted["run_id"], **wanted["env"], "TIDEPOOL_INSTANCE": self._instance_id}
        own["TIDEPOOL_INTERRUPTION_FILE"] = f"{notice}/interruption.json"
        return {**own, "TIDEPOOL_RUN_NAME": wanted["name"]} if wanted["name"] else own

    def _environment(self, wanted: Json) -> dict[str, str]:
        """The machine's environment without what belongs to the agent, under the job's own."""
        private = {f"TIDEPOOL_{name}" for name in OWN_VARIABLES}
        machine = {name: value for name, value in os.environ.items() if name not in private}
        machine.setdefault("PATH", os.defpath)
        machine.setdefault("HOME", os.path.expanduser("~"))
        return {**machine, **self._own_variables(wanted)}

    def _judge(self, job: Job) -> None:
        """Find out what became of a job: it runs, it ended, it never ran, or its supervisor was lost."""
        lock = job.folder.lock()
        if lock is None:
            job.running = job.folder.end() is None
            job.end = job.folder.end()
            return
        try:
            job.end = job.folder.end()
            if job.end:
                return
            if not job.folder.has("process.json"):
                del self._jobs[job.run_id]
                shutil.rmtree(job.folder.path, ignore_errors=True)
                return
            if not job.image or not self._containers.exists(job.run_id):
                job.fail(self._lose(job), lost=True)
                return
        finally:
            os.close(lock)
        event("container-adopted", run_id=job.run_id)
        env = {"PATH": os.environ.get("PATH", os.defpath)}
        self._spawn(job, self._containers.follow(job.run_id), env, skip=job.folder.log_size())

    @staticmethod
    def _lose(job: Job) -> str:
        """End what a lost supervisor left behind, and say what can be said."""
        record = read_json(job.folder.file("process.json")) or {}
        if record.get("boot") != boot_id():
            return "the machine was restarted while the job ran"
        leader = int(record["leader"])
        if started(leader) in ("", record["started"]):  # the leader, or what is left of its group; not a stranger
            signal_group(leader, signal.SIGKILL)
        return "the process that watched over the job was killed, and the job with it; its exit code is not known"


# --- the agent --------------------------------------------------------------------------------------------------------


class Identity:
    """Who this machine is to the control plane.

    The secret is made here and is on disk before it is proposed, so that a crash or a lost answer repeats the same
    proposal. With another bootstrap token (adopted anew, or made from an image of another machine) it is another one.
    """

    def __init__(self, home: str, bootstrap: str) -> None:
        self._path = os.path.join(home, "agent.json")
        self._bootstrap = bootstrap
        self._content = read_json(self._path) or {}
        digest = hashlib.sha256(bootstrap.encode()).hexdigest() if bootstrap else self._content.get("bootstrap_sha256")
        if self._content.get("bootstrap_sha256") != digest:
            self._content = {}
        if not self._content and digest:
            self._content = {"secret": secrets.token_urlsafe(32), "bootstrap_sha256": digest}
            write_atomically(self._path, json.dumps(self._content), durable=True)

    @property
    def is_known(self) -> bool:
        """Whether there is anything to present: a token, or a secret with a bootstrap token to propose it under."""
        return self.is_registered or bool(self._bootstrap)

    @property
    def is_registered(self) -> bool:
        return "token_id" in self._content

    @property
    def instance_id(self) -> str:
        return str(self._content.get("instance_id", ""))

    @property
    def bearer(self) -> str:
        return f"tpa.{self._content['token_id']}.{self._content['secret']}"

    def register(self, link: Link) -> None:
        """Exchange the bootstrap token for one's own. Raises `ApiError`; repeating it is fine."""
        answer = link.post("/v1/agent/register", {"proposed_token": self._content["secret"]}, self._bootstrap)
        try:
            known = {"token_id": str(answer["token_id"]), "instance_id": str(answer["instance_id"])}
        except KeyError as error:
            raise ApiError(0, f"the answer lacks {error}") from None
        self._content.update(known)
        write_atomically(self._path, json.dumps(self._content), durable=True)
        self._bootstrap = ""


class Contact:
    """When the control plane was last heard, and how long silence may last. Survives the agent, not a reboot."""

    NOTED_EVERY_S = 60.0

    def __init__(self, path: str) -> None:
        self._path = path
        self._boot = boot_id()
        self.at = time.monotonic()
        self.limits = dict(DEFAULT_LIMITS)
        self._noted_at = 0.0
        noted = read_json(path)
        if noted is not None:
            self.limits = noted["limits"]
            if noted["boot"] == self._boot and noted["at"] < self.at:
                self.at = noted["at"]

    def heard(self, now: float, limits: Json) -> None:
        """Note a success. An answer without limits (the instance is only being made) leaves those that were."""
        limits = limits if any(limits.values()) else self.limits
        changed = limits != self.limits
        self.at, self.limits = now, limits
        if changed or now - self._noted_at >= self.NOTED_EVERY_S:
            self._noted_at = now
            with contextlib.suppress(OSError):
                write_atomically(self._path, json.dumps({"boot": self._boot, "at": now, "limits": limits}))

    def ends_at(self, idle_since: float | None) -> float:
        """When silence has lasted too long: sooner for a machine without a job. A limit of 0 is none."""
        ends = [self.at + self.limits["leaderless"]] if self.limits["leaderless"] else []
        if self.limits["idle"] and idle_since is not None:
            ends.append(max(self.at, idle_since) + self.limits["idle"])
        return min(ends, default=float("inf"))


class Answer:
    """What a sync is told. Raises `ValueError` on any other shape: it is then as if there had been no answer."""

    def __init__(self, body: Json) -> None:
        try:
            self.interval_s = max(FIRST_DELAY_S, float(body["interval_s"]))
            self.wake_url = str(body.get("wake_url") or "")
            self.wake_expires_s = float(body.get("wake_expires_s") or 0)
            self.acknowledged = [str(run_id) for run_id in body.get("acknowledged") or ()]
            self.log_offsets = {str(run): int(offset) for run, offset in (body.get("log_offsets") or {}).items()}
            limits = body.get("dead_man_s") or {}
            self.limits = {name: float(limits.get(name) or 0) for name in DEFAULT_LIMITS}
            self.shutdown = body.get("shutdown") is True
            self.refresh = body.get("refresh") is True
            self.uninstall = str(body.get("uninstall") or "")
            taken = body.get("interruption")
            self.taken_at = epoch(str(taken["at"])) if taken else None
            self.job = self._job(body["job"]) if body.get("job") else None
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__} in the answer") from None

    @staticmethod
    def _job(body: Json) -> Json:
        job: Json = {
            "run_id": str(body["run_id"]),
            "name": str(body.get("name") or ""),
            "argv": [str(word) for word in body["argv"]],
            "image": str(body.get("image") or ""),
            "env": {str(name): str(value) for name, value in (body.get("env") or {}).items()},
            "code_url": str(body.get("code_url") or ""),
            "code_sha256": str(body.get("code_sha256") or ""),
            "kill_after_s": max(0.0, float(body.get("kill_after_s", KILL_AFTER_S))),
            "shared_memory_mib": int(body.get("shared_memory_mib") or 0),
            "host_network": bool(body.get("host_network")),
            "stop": body.get("stop") is True,
        }
        if not RUN_ID.fullmatch(job["run_id"]) or job["image"].startswith("-") or not (job["argv"] or job["image"]):
            raise ValueError("a job that cannot be run")
        return job


UNDERTAKER = """\
import contextlib, json, os, signal, ssl, subprocess, sys, time
import urllib.error, urllib.request
order = json.load(sys.stdin)

def outcome():
    pipe = subprocess.PIPE
    process = subprocess.Popen(["sh", "-s"], stdin=pipe, stdout=pipe, cwd="/", start_new_session=True)
    try:
        said = process.communicate(order["script"].encode(), timeout=order["limit_s"])[0]
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return set()
    return {line[8:] for line in said.decode(errors="replace").splitlines() if line[:8] == "outcome\\t"}

for pause_s in order["pauses_s"]:
    time.sleep(pause_s)
    ways = outcome()
    if ways:
        break
if not ways & {"removed", "absent"}:
    sys.exit(1)
body = json.dumps({"boot_id": order["boot_id"], "uninstalled": True}).encode()
headers = {"Authorization": "Bearer " + order["bearer"], "Content-Type": "application/json"}
request = urllib.request.Request(order["url"] + "/v1/agent/sync", body, headers)
context = ssl.create_default_context(cafile=order["ca"] or None)
handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
opener = urllib.request.build_opener(*handlers)
pause_s = 0.5
for _ in range(10):
    try:
        opener.open(request, timeout=30).close()
        break
    except urllib.error.HTTPError as error:
        if error.code == 401:
            break
    except OSError:
        pass
    time.sleep(pause_s)
    pause_s = min(2 * pause_s, 30)
"""
"""Uninstalls everything, its own agent included, and tells the control plane when nothing is left. It reads what to do
from its input, where no list of processes shows it, and carries no mark, so that the script does not end it. A script
that does not come to an end has ended the agent and not started it again, so it is run again; one that failed has."""

UNDERTAKING_LIMIT_S = 300.0
UNDERTAKING_PAUSES_S = (0.0, 10.0, 60.0, 300.0)


class Undertaker:
    """Runs the script of an uninstallation in a process that outlives this agent. One at a time.

    A script that fails starts the agent again. How often that was is on disk, so that each agent rests longer than the
    one before it.
    """

    def __init__(self, url: str, boot_id: str, authority: str, home: str) -> None:
        limits = {"limit_s": UNDERTAKING_LIMIT_S, "pauses_s": UNDERTAKING_PAUSES_S}
        self._order = {"url": url, "boot_id": boot_id, "ca": authority, **limits}
        self._process: subprocess.Popen[bytes] | None = None
        self._path = os.path.join(home, "undertaken.json")
        self._times = int((read_json(self._path) or {}).get("times", 0))
        self._not_before = time.monotonic() + (unwanted_rest_s(self._times - 1) if self._times else 0.0)

    def call(self, script: str, bearer: str) -> float:
        """Begin, unless one is at work or rests; return the moment, on the monotonic clock, for the next call."""
        now = time.monotonic()
        if now < self._not_before:
            return self._not_before
        self._not_before = now + unwanted_rest_s(self._times)
        self._times += 1
        with contextlib.suppress(OSError):  # a full disk is no reason to stay
            write_atomically(self._path, json.dumps({"times": self._times}))
        if self._process is None or self._process.poll() is not None:
            self._begin(script, bearer)
        return self._not_before

    def _begin(self, script: str, bearer: str) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TIDEPOOL_")}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", UNDERTAKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=environ,
                start_new_session=True,
            )
            order = json.dumps({**self._order, "script": script, "bearer": bearer}).encode()
            assert self._process.stdin is not None
            with self._process.stdin as pipe:
                pipe.write(order)
        except OSError as error:
            event("uninstall-failed", detail=describe(error))


class Agent:
    """The loop: notice, act, tell, wait. Everything it must remember is on disk."""

    def __init__(self, environ: Mapping[str, str], home: str, bell: Bell, spawner: Spawner) -> None:
        context = ssl.create_default_context(cafile=environ.get("TIDEPOOL_CA") or None)
        self._link = Link(environ.get("TIDEPOOL_URL", ""), context)
        self._power_off = environ.get("TIDEPOOL_POWEROFF", "shutdown -h now")
        self._home = home
        self._bell = bell
        self._identity = Identity(home, environ.get("TIDEPOOL_BOOTSTRAP", ""))
        self._contact = Contact(os.path.join(home, "contact.json"))
        self._jobs = Jobs(home, bell, spawner, context)
        self._listener = Listener(bell, context)
        self._watch = Watch(environ.get("TIDEPOOL_NOTICE", ""), environ.get("TIDEPOOL_METADATA_URL", ""), bell)
        self._told_of_notice = False
        with open(os.path.abspath(__file__), "rb") as file:
            self._sha256 = hashlib.sha256(file.read()).hexdigest()
        self._boot_id = secrets.token_hex(8)
        self._undertaker = Undertaker(
            environ.get("TIDEPOOL_URL", "").rstrip("/"), self._boot_id, environ.get("TIDEPOOL_CA", ""), home
        )
        self._is_host = bool(environ.get("TIDEPOOL_MARK"))
        self._facts: Json | None = None
        self._wanted: Json | None = None
        self._has_heard = False
        self._interval_s = LONGEST_DELAY_S
        self._delay = Delay()
        self._idle_since: float | None = time.monotonic()
        self._next_sync = 0.0
        self._not_before = 0.0
        self._heir_until = 0.0
        self.terminating = False

    def run(self) -> int:
        """Serve until told otherwise. Returns the exit status."""
        if not self._identity.is_known:
            event("not-configured", detail="TIDEPOOL_BOOTSTRAP is not set and no identity is stored")
            return 2
        self._facts = gather_facts(self._home, self._link.host)
        event("started", boot_id=self._boot_id, registered=self._identity.is_registered)
        if self._identity.is_registered:
            self._heir_until = time.monotonic() + POLL_LIMIT_S
        over = "" if self._identity.is_registered else self._register()
        if not over and not self.terminating:
            self._jobs.recover(self._identity.instance_id, self._facts)
            self._listener.start()
            self._watch.start()
            over = self._loop()
        return self._shut_down(over) if over else self._say_farewell()

    def _register(self) -> str:
        """Register, however long it takes; returns why it is over, if it is."""
        while not self.terminating:
            try:
                self._identity.register(self._link)
                event("registered", instance_id=self._identity.instance_id)
                break
            except ApiError as error:
                if error.status == 401:
                    return "the bootstrap token is not accepted"
                pause_s = self._delay.next()
                event("register-failed", detail=error.detail, again_in_s=round(pause_s, 1))
                until = time.monotonic() + pause_s
                while time.monotonic() < until and not self.terminating:
                    self._bell.wait(until - time.monotonic())
            if time.monotonic() >= self._abandoned_at():
                return "the control plane was never reached"
        self._delay.reset()
        return ""

    def _loop(self) -> str:
        while not self.terminating:
            now = time.monotonic()
            news = self._jobs.observe(now)
            if self._jobs.interruption is None and self._watch.notice is not None:
                self._take_notice(self._watch.notice)
                self._next_sync = self._not_before = now
            if self._has_heard or self._jobs.interruption is not None:
                news = self._jobs.heed(self._wanted) or news
            job = self._jobs.active
            self._idle_since = None if any(self._jobs) else self._idle_since or now  # an end that is not told is a job
            if news:
                self._next_sync = min(self._next_sync, now if job is None else max(now, job.ready_at + START_GRACE_S))
            if self._listener.take():
                self._next_sync = self._not_before = now
            due = max(self._not_before, min([self._next_sync, *(job.due(now) for job in self._jobs)]))
            if now >= due:
                over = self._sync()
                if over:
                    return over
            elif now >= self._abandoned_at():
                return "the control plane is silent for too long"
            else:
                until = min(due, self._abandoned_at())
                self._bell.wait(min(until - now, LOOK_S) if job else until - now)
        return ""

    def _take_notice(self, notice: Interruption) -> None:
        """From now on no job begins, and the one that runs ends in time, whether or not the control plane is heard."""
        event("interruption", kind=notice.kind, seconds_left=round(notice.left_s))
        self._jobs.interruption = notice

    def _abandoned_at(self) -> float:
        return self._contact.ends_at(self._idle_since) if self._power_off else float("inf")

    def _sync(self, *, stopping: bool = False) -> str:
        """Tell and be told. Returns why it is over, if it is."""
        reports: list[tuple[Job, Json, Json | None]] = []
        for job in self._jobs:
            with_log = sum(1 for _, _, chunk in reports if chunk) < CHUNKS_A_SYNC
            reports.append((job, *job.report(with_log=with_log)))
        body: Json = {
            "boot_id": self._boot_id,
            "agent_sha256": self._sha256,
            "facts": self._facts,
            "stopping": stopping,
        }
        if self._jobs.interruption is not None and not self._told_of_notice:
            body["interruption"] = self._jobs.interruption.report
        body["jobs"] = [state for _, state, _ in reports]
        body["logs"] = [chunk for _, _, chunk in reports if chunk]
        limit_s = FAREWELL_S if stopping else SYNC_LIMIT_S
        try:
            answer = Answer(self._link.post("/v1/agent/sync", body, self._identity.bearer, limit_s=limit_s))
        except (ApiError, ValueError) as error:
            if isinstance(error, ApiError) and error.status == 401:
                return "this instance is over"
            # Not rarer than while all is well: after an outage of its own the control plane waits a while for us.
            pause_s = self._delay.next(min(LONGEST_DELAY_S, self._interval_s))
            event("sync-failed", detail=str(error), again_in_s=round(pause_s, 1))
            self._not_before = time.monotonic() + pause_s
            return ""
        now = time.monotonic()
        if self._delay.tries:
            event("sync-recovered", failures=self._delay.tries)
        self._delay.reset()
        for job, _, chunk in reports:
            job.heed(answer.log_offsets.get(job.run_id), now, chunk=chunk is not None)
        self._heed(answer, now)
        return "the control plane wants this machine off" if answer.shutdown else ""

    def _heed(self, answer: Answer, now: float) -> None:
        self._facts = gather_facts(self._home, self._link.host) if answer.refresh else None
        self._has_heard = True
        self._interval_s = answer.interval_s
        self._contact.heard(now, answer.limits)
        if answer.taken_at is not None:
            self._told_of_notice = self._told_of_notice or self._jobs.interruption is not None
            self._watch.hear(answer.taken_at)
        for run_id in answer.acknowledged:
            self._jobs.drop(run_id)
        job = answer.job
        self._wanted = None if job is not None and job["run_id"] in answer.acknowledged else job
        self._listener.listen(answer.wake_url, answer.wake_expires_s)
        longest_s = min(answer.interval_s, DEAF_DELAY_S) if self._listener.fails else answer.interval_s
        if now < self._heir_until:
            longest_s = min(longest_s, HEIR_DELAY_S)
        self._next_sync = now + longest_s * random.uniform(0.9, 1.0)
        self._not_before = now
        if answer.refresh:
            self._next_sync = now
        if answer.uninstall:
            event("uninstalling")
            self._jobs.stop_all()
            self._next_sync = self._not_before = self._undertaker.call(answer.uninstall, self._identity.bearer)

    def abort(self) -> None:
        """End the loop soon, also when it waits for an answer. Called by a signal."""
        self.terminating = True
        self._link.abort()

    def _say_farewell(self) -> int:
        """End without touching the jobs: the next agent finds them. Dying here is as good."""
        event("stopping")
        if self._identity.is_registered:
            last = threading.Timer(FAREWELL_S, os._exit, [0])
            last.daemon = True
            last.start()
            self._link.close()
            self._sync(stopping=True)
        return 0

    def _shut_down(self, why: str) -> int:
        """Stop the jobs and switch the machine off. An exit status other than 0 asks for another try."""
        event("powering-off", why=why)
        self._jobs.stop_all()
        if not self._power_off:
            until = time.monotonic() + (OVER_REST_S * random.uniform(0.5, 1.0) if self._is_host else 0.0)
            while time.monotonic() < until and not self.terminating:
                self._bell.wait(until - time.monotonic())
            return 0
        try:
            status = subprocess.run(["sh", "-c", self._power_off], check=False, timeout=60.0).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            event("power-off-failed", detail=describe(error))
            return 1
        return 1 if status else 0


def main() -> int:
    environ = dict(os.environ)
    os.environ.pop("TIDEPOOL_BOOTSTRAP", None)
    home = os.path.abspath(environ.get("TIDEPOOL_HOME") or "/var/lib/tidepool")
    os.makedirs(home, mode=0o700, exist_ok=True)
    spawner = Spawner()  # before the first thread and before the lock, which nobody else may inherit
    lock = os.open(os.path.join(home, "agent.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        event("waiting-for-another-agent")
        fcntl.flock(lock, fcntl.LOCK_EX)
    bell = Bell(os.path.join(home, "bell"))
    try:
        agent = Agent(environ, home, bell, spawner)
    except (ValueError, OSError) as error:
        event("not-configured", detail=str(error))
        return 2

    def terminate(_number: int, _frame: object) -> None:
        agent.abort()

    signal.set_wakeup_fd(bell.writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    return agent.run()


if __name__ == "__main__":
    sys.exit(main())
