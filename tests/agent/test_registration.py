"""Becoming a member: the agent proposes its own secret, once, and keeps it."""

import json
import os
import signal
import stat

from tests.agent.conftest import Machine
from tests.agent.stub_api import BOOTSTRAP, StubApi


def test_a_lost_answer_is_repaired_by_the_same_proposal(machine: Machine, api: StubApi) -> None:
    api.lost_answers = 1
    machine.start()
    assert len(api.proposals) == 2
    assert len(set(api.proposals)) == 1
    assert len(api.proposals[0]) >= 43


def test_a_crash_before_the_answer_repeats_the_proposal(machine: Machine, api: StubApi) -> None:
    api.lost_answers = 1
    machine.launch()
    api.until(lambda: api.proposals)
    machine.signal(signal.SIGKILL)
    machine.start()
    assert len(set(api.proposals)) == 1


def test_a_restart_uses_the_stored_token(machine: Machine, api: StubApi) -> None:
    machine.start()
    machine.signal(signal.SIGKILL)
    machine.start()
    assert len(api.proposals) == 1
    assert len({sync["boot_id"] for sync in api.syncs}) == 2


def test_the_identity_is_its_owners_alone_and_holds_no_bootstrap_token(machine: Machine, api: StubApi) -> None:
    machine.start()
    path = machine.home / "agent.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert BOOTSTRAP not in path.read_text()
    assert json.loads(path.read_text())["instance_id"] == "i-1"


def test_another_bootstrap_token_makes_another_identity(machine: Machine, api: StubApi) -> None:
    """A machine that is adopted anew, or made from an image of another one, must not speak with the old token."""
    machine.start()
    machine.signal(signal.SIGKILL)
    machine.launch(TIDEPOOL_BOOTSTRAP="tpb.2.another")
    api.until(lambda: len(api.proposals) == 2)
    assert len(set(api.proposals)) == 2


def test_a_refused_bootstrap_token_switches_the_machine_off(machine: Machine, api: StubApi) -> None:
    api.refuse = True
    machine.launch()
    assert machine.wait() == 0
    assert machine.off.exists()


def test_without_a_token_nothing_is_done_and_nothing_is_switched_off(machine: Machine) -> None:
    machine.launch(TIDEPOOL_BOOTSTRAP="")
    assert machine.wait() == 2
    assert not machine.off.exists()


def test_the_first_sync_describes_the_machine_and_later_ones_do_not(machine: Machine, api: StubApi) -> None:
    gpu = "NVIDIA A100-SXM4-40GB, 40960, 570.124.06"
    script = f'case "$*" in *query*) echo "{gpu}"; echo "{gpu}" ;; *) echo "| CUDA Version: 12.8  |" ;; esac\n'
    machine.write_command("nvidia-smi", f"#!/bin/sh\n{script}")
    machine.start()
    api.wake()
    api.until(lambda: len(api.syncs) > 1)
    facts = api.syncs[0]["facts"]
    assert facts["gpus"] == [{"name": "NVIDIA A100-SXM4-40GB", "memory_mib": 40960, "count": 2, "vendor": "nvidia"}]
    assert (facts["driver"], facts["cuda"]) == ("570.124.06", "12.8")
    assert (facts["os"], facts["docker"]) == ("linux", False)
    assert facts["cpus"] == len(os.sched_getaffinity(0))
    assert facts["memory_mib"] > 0
    assert facts["disk_mib"] > 0
    assert api.syncs[1]["facts"] is None
    assert all(set(sync) == {"boot_id", "agent_sha256", "facts", "jobs", "logs", "stopping"} for sync in api.syncs)
