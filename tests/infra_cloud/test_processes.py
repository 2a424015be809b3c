"""Which processes are a machine's."""

import os
import subprocess

import pytest

from infra.local.cloud import processes
from infra.local.cloud.processes import Process


def make_process(pid: int, parent: int, *, marked: bool = False) -> Process:
    return Process(pid, parent, "then", marked)


def pids(found) -> set[int]:
    return {process.pid for process in found}


def test_what_carries_the_marker_and_what_descends_from_it_is_the_machine():
    table = [
        make_process(1, 0),
        make_process(10, 1, marked=True),
        make_process(11, 10),
        make_process(12, 11),
        make_process(20, 1, marked=True),
        make_process(30, 1),
        make_process(31, 30),
    ]
    assert pids(processes.members(table)) == {10, 11, 12, 20}


def test_a_process_that_is_its_own_parent_ends_no_search():
    assert pids(processes.members([make_process(0, 0, marked=True)])) == {0}


def test_a_listing_of_ps_is_read_with_the_environment_behind_the_command():
    listing = (
        "    1     0 Fri Nov 21 22:15:00 2026 /sbin/launchd\n"
        "  501     1 Fri Nov  1 22:15:00 2026 sleep 600 HOME=/Users/me TIDEPOOL_MACHINE=m-1\n"
        "  502   501 Fri Nov 21 22:15:01 2026 sleep 600 TIDEPOOL_MACHINE=m-12\n"
    )
    assert list(processes.parse_ps(listing, "TIDEPOOL_MACHINE=m-1")) == [
        Process(1, 0, "Fri Nov 21 22:15:00 2026", False),
        Process(501, 1, "Fri Nov 1 22:15:00 2026", True),
        Process(502, 501, "Fri Nov 21 22:15:01 2026", False),
    ]


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "600"], env={**os.environ, processes.MARKER: "m-of-a-test"})
    yield child
    child.kill()
    child.wait()


def test_a_running_process_is_found_by_its_marker_and_ended(sleeper):
    assert pids(processes.living("m-of-a-test")) == {sleeper.pid}
    assert not processes.living("m-of-a-tes")
    processes.end("m-of-a-test", grace_s=60)
    assert sleeper.wait(timeout=60) == -15


def test_a_spared_process_is_left_alone(sleeper):
    processes.end("m-of-a-test", grace_s=0, spare={sleeper.pid})
    assert sleeper.poll() is None


def test_a_child_of_ours_ends_with_its_machine_although_its_environment_cannot_be_read_yet(sleeper, monkeypatch):
    """While a program is being loaded it has none."""
    monkeypatch.setattr(processes, "_environment", lambda _folder: [])
    processes.end("m-of-a-test", grace_s=60)
    assert sleeper.poll() is None
    processes.end("m-of-a-test", grace_s=60, root=sleeper.pid)
    assert sleeper.wait(timeout=60) == -15
