"""An agent that is told to leave its host: its job ends, a process that outlives it uninstalls, and then says so."""

import json
import signal
import subprocess
import sys
import time

from chalicelib.agent import tidepool_agent
from tests.agent.conftest import wait_until

CLEAN = "printf 'outcome\\tremoved\\n'\n"
HOST = {"TIDEPOOL_POWEROFF": "", "TIDEPOOL_MARK": "here"}


def test_the_script_may_end_the_agent_and_is_confirmed_all_the_same(machine, api):
    machine.start(**HOST)
    with api.seen:
        api.uninstall = f"kill -9 {machine.process.pid}\n{CLEAN}"
    api.wake()
    assert machine.wait() == -signal.SIGKILL
    api.until(lambda: api.uninstalled)


def test_a_job_has_its_time_before_anything_is_removed(machine, api):
    machine.start(**HOST)
    with api.seen:
        script = "trap 'echo saved; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
        api.want("run-1", "sh", "-c", script, wake=False)
    api.wake()
    api.until(lambda: api.log("run-1"))
    done = machine.home / "jobs" / "run-1" / "end.json"
    with api.seen:
        api.acknowledge = False  # what is acknowledged is removed, maybe before the script looks
        api.uninstall = f"cp {done} {machine.home}/seen; {CLEAN}"
    api.wake()
    api.until(lambda: api.uninstalled)
    assert '"exit_code": 3' in (machine.home / "seen").read_text()


def test_a_confirmation_whose_answer_is_lost_is_said_again(machine, api, tmp_path):
    machine.start(**HOST)
    go = tmp_path / "go"
    with api.seen:
        api.uninstall = f"kill -9 {machine.process.pid}\nwhile [ ! -e {go} ]; do sleep 0.02; done\n{CLEAN}"
    api.wake()
    machine.wait()
    with api.seen:
        api.lost_answers = 1
    go.touch()
    api.until(lambda: api.uninstalled == 2)


def test_a_script_that_fails_is_run_again(machine, api):
    machine.start(**HOST)
    count = machine.home / "count"
    with api.seen:
        api.uninstall = f"echo x >>{count}; [ $(wc -l <{count}) -lt 2 ] || {CLEAN}"
    api.wake()
    api.until(lambda: api.uninstalled)
    assert count.read_text() == "x\nx\n"


def test_an_agent_that_is_started_again_by_a_script_that_failed_rests_before_it_runs_the_next(machine, api):
    machine.start(**HOST)
    times = machine.home / "times"
    with api.seen:
        api.uninstall = f"date +%s.%N >>{times}; kill -9 {machine.process.pid}; printf 'outcome\\tfailed\\n'"
    api.wake()
    machine.wait()
    with api.seen:
        api.uninstall = f"date +%s.%N >>{times}; {CLEAN}"
    began = time.time()
    machine.start(**HOST)
    api.until(lambda: api.uninstalled)
    first, second = map(float, times.read_text().split())
    assert first < began
    assert second - began > tidepool_agent.UNINSTALL_AGAIN_S / 2 - 0.1


def test_a_script_that_does_not_come_to_an_end_is_killed_and_run_again(tmp_path, api):
    count = tmp_path / "count"
    script = f"echo x >>{count}; [ $(wc -l <{count}) -gt 1 ] || sleep 600; {CLEAN}"
    order = {"script": script, "limit_s": 2, "pauses_s": [0, 0.1, 0.1], "bearer": "", "boot_id": "b", "ca": ""}
    argv = [sys.executable, "-I", "-c", tidepool_agent.UNDERTAKER]
    done = subprocess.run(argv, input=json.dumps({**order, "url": api.url}).encode(), timeout=60, check=False)
    assert (done.returncode, count.read_text()) == (0, "x\nx\n")


def test_nothing_of_the_script_or_the_token_is_in_the_list_of_processes(machine, api):
    machine.start(**HOST)
    shown = machine.home / "shown"
    with api.seen:
        api.uninstall = f"cat /proc/[0-9]*/cmdline >{shown} 2>/dev/null\n{CLEAN}"
    api.wake()
    api.until(lambda: api.uninstalled)
    assert api.registered.encode() not in shown.read_bytes()


def test_facts_are_read_again_when_they_are_asked_for(machine, api):
    machine.start(**HOST)
    before = len(api.syncs)
    with api.seen:
        api.refresh = True
    api.wake()
    api.until(lambda: any(sync["facts"] for sync in api.syncs[before:]))
    with api.seen:
        api.refresh = False


def test_an_agent_that_is_not_wanted_rests_before_it_ends(machine, api):
    """Its service manager would start it again at once."""
    machine.start(**HOST)
    with api.seen:
        api.refuse = True
    api.wake()
    wait_until(lambda: any(event["event"] == "powering-off" for event in machine.events()))
    assert machine.process.poll() is None
    assert machine.signal(signal.SIGTERM) == 0
