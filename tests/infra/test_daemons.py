"""Background processes and the files that they hold locked."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from infra.local import daemons

OBEYS = "import time; print('started', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('started', flush=True); time.sleep(600)"
)


@pytest.fixture
def pid_file(tmp_path: Path):
    path = tmp_path / "part.pid"
    yield path
    daemons.stop(path, within_s=0.1)


def start(pid_file: Path, code: str = OBEYS) -> int:
    log = pid_file.with_suffix(".log")
    pid = daemons.start(pid_file, [sys.executable, "-c", code], cwd=pid_file.parent, log=log, environ=dict(os.environ))
    deadline = time.monotonic() + 60
    while "started" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return pid


def test_a_process_is_known_by_its_file_until_it_is_stopped(pid_file):
    pid = start(pid_file)
    assert daemons.running(pid_file) == pid
    assert daemons.stop(pid_file, within_s=60)
    assert daemons.running(pid_file) == 0
    assert not pid_file.exists()


def test_a_second_one_on_the_same_file_is_refused(pid_file):
    pid = start(pid_file)
    with pytest.raises(BlockingIOError):
        start(pid_file)
    assert daemons.running(pid_file) == pid


def test_a_file_left_by_a_crash_is_no_process(pid_file):
    pid = start(pid_file)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert pid_file.read_text() == f"{pid}\n"
    assert daemons.running(pid_file) == 0
    start(pid_file)
    assert daemons.running(pid_file) not in {0, pid}


def test_a_file_that_names_a_stranger_harms_nobody(pid_file):
    pid_file.write_text(f"{os.getpid()}\n")
    assert daemons.running(pid_file) == 0
    assert daemons.stop(pid_file, within_s=0.1)


def test_a_process_that_does_not_end_is_killed_and_reported(pid_file):
    start(pid_file, STUBBORN)
    assert not daemons.stop(pid_file, within_s=0.2)
    assert daemons.running(pid_file) == 0


def test_what_the_process_starts_does_not_hold_the_file(pid_file):
    child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(2)'])"
    pid = start(pid_file, f"{child}; print('started', flush=True)")
    os.waitpid(pid, 0)
    assert daemons.running(pid_file) == 0
