"""Install and uninstall on this machine, in a folder that stands for a host's root, with a stand-in for the agent."""

import json
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from chalicelib.domain.errors import InvalidInputError
from chalicelib.ssh import probe, scripts
from chalicelib.ssh.errors import ScriptOutputError
from chalicelib.ssh.scripts import Outcome
from tests.ssh.rooted import AGENT, SHELLS, TOKEN

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the scripts run as root")


@pytest.mark.parametrize("shell", SHELLS, ids=lambda argv: argv[0])
def test_a_removal_leaves_what_was_there_before(shell, root):
    before = root.files()
    report = root.install(shell=shell)
    assert (report.outcome, report.agent, report.boot) == (Outcome.INSTALLED, "active", "openrc")
    assert report.did == ("claimed", "files", "started")
    assert root.starts()[0]["url"] == "https://api.example"
    assert root.owner() == {
        "control_plane": "cp-1",
        "control_plane_url": "https://cp-1.example",
        "project": "main",
        "instance_id": "i-1",
        "since": "2030-01-02T03:04:05+00:00",
    }
    assert root.uninstall(shell=shell).outcome is Outcome.REMOVED
    assert root.files() == before
    assert root.processes() == []
    assert root.uninstall(shell=shell).outcome is Outcome.ABSENT


def test_secrets_are_for_root_alone_and_go_once_they_were_used(root):
    root.install()
    assert root.starts()[0]["token"] == TOKEN
    home = Path(root.layout.home)
    assert home.stat().st_mode & 0o777 == 0o700
    for path in home.iterdir():
        with suppress(FileNotFoundError):  # the token may go just now
            assert path.stat().st_mode & 0o077 == 0
    assert Path(root.layout.owner).stat().st_mode & 0o777 == 0o644
    root.until(lambda: not (home / "bootstrap.env").exists())
    assert not [path for path in home.iterdir() if TOKEN in path.read_text() and path.name != "starts"]


def test_an_agent_that_ends_is_started_again(root):
    root.install()
    os.kill(root.starts()[0]["pid"], signal.SIGKILL)
    assert len({each["pid"] for each in root.starts(2)}) == 2


def test_installing_again_changes_the_agent_and_keeps_the_owner(root):
    root.install()
    first = root.starts()[0]
    since = root.owner()
    assert root.install(program=AGENT + b"# newer").did == ("files", "started")
    assert root.starts(2)[1]["pid"] != first["pid"]
    assert root.owner() == since
    assert Path(root.layout.home, "tidepool_agent.py").read_bytes().endswith(b"# newer")
    root.until(lambda: len([line for line in root.processes() if "start.sh" in line]) == 1)


def test_a_job_survives_another_installation_and_not_the_removal(root):
    root.install()
    marked = {**os.environ, "TIDEPOOL_MARK": root.layout.home}
    job = subprocess.Popen(["sleep", "300"], env=marked, start_new_session=True)
    root.install()
    assert job.poll() is None
    root.uninstall()
    assert job.wait(60) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("other", "reason"), [(("cp-2", "i-1"), "owner-foreign"), (("cp-1", "i-2"), "owner-other-instance")]
)
def test_a_host_of_somebody_else_is_refused_with_its_owner_and_left_alone(other, reason, root):
    root.install(*other)
    started, owner = root.starts(), root.owner()
    report = root.install()
    assert (report.outcome, report.reason) == (Outcome.REFUSED, reason)
    assert json.loads(report.owner) == owner
    removal = root.uninstall()
    assert (removal.outcome, removal.reason) == (Outcome.REFUSED, reason)
    assert (root.starts(), root.owner()) == (started, owner)
    os.kill(started[0]["pid"], 0)


def test_an_owner_file_that_cannot_be_read_as_one_is_somebodys(root):
    Path(root.layout.etc).mkdir()
    Path(root.layout.owner).write_text("")
    assert root.install().reason == "owner-foreign"
    assert root.install(take_over=True).outcome is Outcome.INSTALLED


def test_taking_over_removes_the_old_agent_and_what_it_ran(root):
    root.install("cp-2")
    old = root.starts()[0]["pid"]
    job = subprocess.Popen(["sleep", "300"], env={**os.environ, "TIDEPOOL_MARK": root.layout.home})
    report = root.install(take_over=True)
    assert report.did == ("took-over", "claimed", "files", "started")
    assert root.owner()["control_plane"] == "cp-1"
    assert job.wait(60) == -signal.SIGKILL
    assert root.starts()[0]["pid"] != old
    assert root.uninstall("cp-2").reason == "owner-foreign"


def test_what_an_ended_instance_of_ours_left_is_replaced_and_nothing_else(root):
    """Between the look that saw it and the installation another may have taken the host."""
    root.install("cp-1", "i-old")
    root.starts()
    assert root.install("cp-1", "i-new").reason == "owner-other-instance"
    assert root.install("cp-1", "i-new", replaces="i-older").reason == "owner-other-instance"
    assert root.install("cp-1", "i-new", replaces="i-old").did == ("took-over", "claimed", "files", "started")
    root.starts()
    root.install("cp-2", "i-old", take_over=True)
    assert root.install("cp-1", "i-newer", replaces="i-old").reason == "owner-foreign"


@pytest.mark.parametrize(
    ("identity", "is_left", "kept"),
    [
        ('{"secret": "s", "token_id": "t"}', False, ""),
        ('{"secret": "s"}', True, "before"),
        ('{"secret": "s"}', False, "after"),
        ("", True, "after"),
    ],
)
def test_an_agent_that_registered_or_may_have_goes_on_with_the_token_it_has(identity, is_left, kept, root):
    """The first installation's answer was lost, and its agent was quicker than the second."""
    quiet = b"import time; time.sleep(300)"
    root.install(token="before", program=quiet)
    home = Path(root.layout.home)
    if not is_left:
        (home / "bootstrap.env").unlink()
    if identity:
        (home / "agent.json").write_text(identity)
    assert root.install(token="after", program=quiet).outcome is Outcome.INSTALLED
    path = home / "bootstrap.env"
    assert (path.read_text() if path.exists() else "") == (f"TIDEPOOL_BOOTSTRAP='{kept}'\n" if kept else "")


@pytest.mark.parametrize("take_over", [False, True])
def test_of_two_control_planes_exactly_one_wins(take_over, root):
    names = [f"cp-{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        reports = dict(
            zip(names, threads.map(lambda name: root.install(name, take_over=take_over), names), strict=True)
        )
    owner = root.owner()["control_plane"]
    won = [name for name, report in reports.items() if report.outcome is Outcome.INSTALLED]
    assert owner in won
    if not take_over:
        assert won == [owner]
    assert len([line for line in root.processes() if "tidepool_agent.py" in line]) <= 1
    assert f"https://{owner}.example" == root.owner()["control_plane_url"]


@pytest.mark.parametrize("script", ["install", "uninstall"])
def test_killed_anywhere_and_repeated_it_ends_as_if_it_was_not(script, root):
    before = root.files()
    if script == "uninstall":
        root.install()
    text = root.script() if script == "install" else scripts.uninstall("cp-1", "i-1", root.layout)
    for delay_s in (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32):
        process = subprocess.Popen(
            SHELLS[0], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        process.stdin.write(text.encode())
        process.stdin.close()
        time.sleep(delay_s)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait(60)
    if script == "install":
        assert root.install().outcome is Outcome.INSTALLED
        root.starts()
    assert root.uninstall().outcome in {Outcome.REMOVED, Outcome.ABSENT}
    assert root.files() == before
    assert root.processes() == []


def test_halves_of_files_that_a_kill_left_are_removed_too(root):
    before = root.files()
    root.install()
    for name in (f"{root.layout.unit}.new", f"{root.layout.owner}.new", f"{root.layout.home}/bootstrap.new"):
        Path(name).write_text("half")
    assert root.uninstall().outcome is Outcome.REMOVED
    assert root.files() == before


def test_a_script_that_was_cut_on_its_way_does_nothing(root):
    before = root.files()
    script = root.script()
    for share in (0.3, 0.9, 0.99):
        root.run(script[: int(len(script) * share)])
    assert root.files() == before


def test_containers_of_ours_are_removed_and_no_others(root, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    docker = tools / "docker"
    docker.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n[ "$1" != ps ] || echo c0ffee\n')
    docker.chmod(0o755)
    root.path = str(tools)
    root.install()
    root.uninstall()
    assert (tmp_path / "asked").read_text().splitlines() == [
        "ps -aq --filter label=tidepool.instance=i-1",
        "rm --force --volumes c0ffee",
    ]


@pytest.mark.parametrize(
    ("identity", "label"),
    [({"token_id": "t-1", "instance_id": "i-old"}, "tidepool.instance=i-old"), (None, "tidepool.instance")],
)
def test_what_lies_there_without_an_owner_goes_with_its_containers(identity, label, root, tmp_path):
    """A job that ran on would share its GPU with the next, and the new agent looks after its own containers only."""
    Path(root.layout.home).mkdir(parents=True)
    if identity:
        Path(root.layout.home, "agent.json").write_text(json.dumps(identity))
    root.stub("docker", f'echo "$@" >>{tmp_path}/asked\n[ "$1" != ps ] || echo c0ffee')
    assert root.install(instance_id="i-new").outcome is Outcome.INSTALLED
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"ps -aq --filter label={label}",
        "rm --force --volumes c0ffee",
    ]


def test_without_systemd_and_openrc_the_agent_is_in_roots_crontab_until_it_is_removed(root, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    table = tmp_path / "table"
    table.write_text("0 4 * * * backup\n")
    crontab = tools / "crontab"
    cases = f"-l) cat {table} ;; -r) rm -f {table} ;; -) cat >{table}.new; mv {table}.new {table} ;;"
    crontab.write_text(f"#!/bin/sh\ncase $1 in {cases} esac\n")
    crontab.chmod(0o755)
    root.path = str(tools)
    (root.folder / "etc/local.d").rmdir()
    assert [root.install().boot, root.install().boot] == ["cron", "cron"]
    lines = table.read_text().splitlines()
    assert lines[0] == "0 4 * * * backup"
    assert len(lines) == 2
    assert lines[1].startswith("@reboot ")
    root.uninstall()
    assert table.read_text() == "0 4 * * * backup\n"


def test_the_unit_restarts_the_agent_alone_and_never_powers_off(root):
    text = root.script()
    for line in (
        "Restart=always",
        "KillMode=process",
        "ExecStart=$python -I $home/tidepool_agent.py",
        "StartLimitIntervalSec=0",
    ):
        assert f"\n{line}\n" in text
    root.install()
    assert "TIDEPOOL_POWEROFF=\n" in Path(root.layout.home, "agent.env").read_text()


def test_a_program_that_arrives_changed_is_not_installed(root):
    script = root.script()
    broken = script.replace(scripts.hashlib.sha256(AGENT).hexdigest(), "0" * 64)
    report = scripts.parse_install(root.run(broken))
    assert (report.outcome, report.step) == (Outcome.FAILED, "files")
    assert "not the one that was sent" in report.reason


def test_a_place_that_cannot_be_written_is_told(root):
    (root.folder / "var/lib").rmdir()
    (root.folder / "var/lib").write_text("in the way")
    report = root.install()
    assert (report.outcome, report.step) == (Outcome.FAILED, "files")
    (root.folder / "var/lib").unlink()
    (root.folder / "var/lib").mkdir()


def test_the_probe_sees_owner_and_agent(root):
    root.install()
    found = probe.parse(root.run(probe.script("http://127.0.0.1:9", root.layout)))
    assert found.owner is not None
    assert (found.owner.control_plane, found.owner.instance_id) == ("cp-1", "i-1")
    assert found.agent == "files"


@pytest.mark.parametrize(
    "given",
    [
        {"token": "a'; reboot; '"},
        {"python": "/usr/bin/py thon"},
        {"api_url": "https://api.example/$(reboot)"},
        {"control_plane": 'cp"1'},
        {"instance_id": "i\n1"},
    ],
)
def test_nothing_gets_into_a_script_that_means_something_to_a_shell(given, root):
    with pytest.raises(InvalidInputError) as caught:
        root.script(**given)
    assert caught.value.field in given
    assert "reboot" not in str(caught.value) or "token" not in given


@pytest.mark.parametrize(
    "output", ["", "tidepool-install\t1\ndid\tclaimed\n", "tidepool-uninstall\t1\nend\ttidepool-uninstall\n"]
)
def test_a_cut_or_foreign_output_is_refused(output):
    with pytest.raises(ScriptOutputError):
        scripts.parse_install(output)
