"""Install and uninstall where a host is not as it was left, and where one of its parts fails."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from chalicelib.ssh.scripts import Outcome

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the scripts run as root")

CONTAINER = "case $1 in ps) echo c0ffee ;; rm) {rm} ;; esac"


def test_a_removal_that_fails_in_docker_leaves_an_agent_that_can_be_told_to_try_again(root):
    root.install()
    root.starts()
    root.stub("docker", CONTAINER.format(rm="exit 1"))
    report = root.uninstall()
    assert (report.outcome, report.step) == (Outcome.FAILED, "traces")
    assert root.starts(2)[1]["token"] == ""
    root.until(lambda: len(root.agents()) == 1)
    assert Path(root.layout.boot).exists()
    root.stub("docker", "exit 0")
    assert root.uninstall().outcome is Outcome.REMOVED
    assert root.processes() == []


def test_a_container_that_somebody_else_is_removing_does_not_hinder(root):
    """Docker says then: `removal of container is already in progress`."""
    gone = root.folder.parent / "gone"
    root.install()
    root.stub("docker", f"case $1 in ps) [ -e {gone} ] || echo c0ffee ;; rm) : >{gone}; exit 1 ;; esac")
    assert root.uninstall().outcome is Outcome.REMOVED


@pytest.mark.parametrize("hangs", ["ps", "rm"])
def test_a_removal_whose_docker_hangs_ends_and_leaves_the_agent(hangs, root):
    root.install()
    root.starts()
    root.stub("docker", f"case $1 in {hangs}) exec sleep 60 ;; *) echo c0ffee ;; esac")
    root.stub("timeout", 'shift 3; exec /usr/bin/timeout -k 5 0.2 "$@"')
    assert root.uninstall().outcome is Outcome.FAILED
    assert root.starts(2)
    root.until(lambda: len(root.agents()) == 1)


def test_docker_without_a_daemon_does_not_keep_an_agent(root):
    root.install()
    root.stub("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    root.stub("pgrep", "exit 1")
    assert root.uninstall().outcome is Outcome.REMOVED


def test_containers_that_outlive_the_daemon_of_docker_are_not_taken_for_removed(root):
    """With `live-restore` they run on while it is stopped or restarted, and nobody can end them meanwhile."""
    root.install()
    root.stub("docker", "exit 1")
    root.stub("sleep", "exit 0")
    shim = "/usr/bin/containerd-shim-runc-v2 -namespace moby -id c0ffee -address /run/containerd/containerd.sock"
    root.stub("pgrep", f'[ "$1" = -f ] && echo "{shim}" | grep -q -e "$2"')
    report = root.uninstall()
    assert (report.outcome, report.step) == (Outcome.FAILED, "traces")


def test_a_removal_finds_the_agent_also_where_the_owner_file_is_gone(root):
    """Somebody cleaned /etc, or made it anew."""
    before = root.files()
    root.install()
    root.starts()
    shutil.rmtree(root.layout.etc)
    assert root.uninstall().outcome is Outcome.REMOVED
    assert root.processes() == []
    assert root.files() == before


def test_a_removal_leaves_the_agent_of_another_instance_whose_owner_file_is_gone(root):
    root.install("cp-0", "i-0")
    root.starts()
    identity = Path(root.layout.home, "agent.json")
    identity.write_text(json.dumps({"token_id": "t-1", "instance_id": "i-0"}))
    shutil.rmtree(root.layout.etc)
    assert root.uninstall().outcome is Outcome.ABSENT
    assert identity.exists()
    root.until(lambda: len(root.agents()) == 1)
    assert root.uninstall("cp-0", "i-0").outcome is Outcome.REMOVED


def test_what_an_earlier_agent_left_does_not_take_the_new_token_away(root):
    """Its identity would, at the next start, and the agent would go on as the one that it was."""
    root.install("cp-0", "i-0")
    old = root.starts()[0]["pid"]
    job = subprocess.Popen(["sleep", "300"], env={**os.environ, "TIDEPOOL_MARK": root.layout.home})
    shutil.rmtree(root.layout.etc)
    root.install(token="tpb.9876543210.another")
    started = root.starts()
    assert [each["token"] for each in started] == ["tpb.9876543210.another"]
    assert started[0]["pid"] != old
    assert job.wait(60) < 0


def test_a_place_that_cannot_be_written_is_not_said_to_be_locked(root):
    """The folder cannot be made, as where /etc is read-only."""
    in_the_way = Path(root.layout.etc)
    in_the_way.write_text("")
    report = root.install()
    in_the_way.unlink()
    assert (report.outcome, report.step) == (Outcome.FAILED, "lock")
    assert report.reason == f"{root.layout.etc}/lock cannot be written; the file system may be read-only or full"


def test_a_file_that_is_cut_by_a_full_disk_does_not_take_the_place_of_the_one_before(root):
    root.install()
    root.starts()
    before = Path(root.layout.home, "forget.sh").read_text()
    root.stub("cat", "head -c 20; exit 1")
    report = root.install()
    assert (report.outcome, report.reason) == (Outcome.FAILED, f"{root.layout.home}/forget.sh cannot be written")
    assert Path(root.layout.home, "forget.sh").read_text() == before
