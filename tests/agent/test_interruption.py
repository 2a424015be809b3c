"""The provider takes the machine back: the control plane is told, the job has its time, nothing new begins."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import Machine, wait_until
from tests.agent.metadata import VM, Metadata
from tests.agent.stub_api import StubApi

PATIENT = "trap 'cat \"$TIDEPOOL_INTERRUPTION_FILE\"; exit 9' TERM; echo begun; while :; do sleep 0.05; done"


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    one = Metadata()
    yield one
    one.close()


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def noticed(api: StubApi) -> dict[str, Any]:
    """The first sync that tells of it."""
    told: dict[str, Any] = api.until(lambda: [s for s in api.syncs if s.get("interruption")])[0]
    return told["interruption"]


def is_told(text: str, at: datetime) -> bool:
    """Whether that moment was told. The agent's reading of its two clocks may take a moment of its own."""
    return abs(datetime.fromisoformat(text) - at) < timedelta(seconds=1)


def begin(api: StubApi, script: str = PATIENT) -> None:
    api.want("run-1", "sh", "-c", script)
    api.until(lambda: b"begun" in api.log("run-1"))


def write_notice(machine: Machine, at: datetime) -> None:
    Path(machine.env["HOME"], "interruption").write_text(f"{iso(at)}\n")


def test_a_job_is_told_how_long_it_has_and_ends_with_its_own_code(machine: Machine, api: StubApi) -> None:
    machine.start(TIDEPOOL_NOTICE="file")
    begin(api)
    at = in_s(600)
    write_notice(machine, at)
    end = api.ended("run-1")
    assert (end["state"], end["exit_code"], end["interrupted"]) == ("exited", 9, True)
    assert is_told(noticed(api)["at"], at)
    begun, line, *_, note = api.log("run-1").decode().splitlines()
    assert begun == "begun"
    assert line.startswith("tidepool: this machine is taken back in ")
    assert 500 < float(line.split()[-2]) <= 600
    assert is_told(json.loads(note)["at"], at)
    assert 500 < json.loads(note)["seconds_left"] <= 600


def test_a_job_that_does_not_listen_is_killed_before_the_machine_ends(machine: Machine, api: StubApi) -> None:
    machine.start(TIDEPOOL_NOTICE="file")
    begin(api, "trap '' TERM; printf begun; while :; do sleep 0.05; done")
    at = in_s(16)
    write_notice(machine, at)
    end = api.ended("run-1")
    assert (end["exit_code"], end["interrupted"]) == (137, True)
    assert datetime.now(UTC) < at
    assert b"begun\ntidepool: this machine" in api.log("run-1"), "an unfinished line is ended first"


def test_without_the_control_plane_the_job_is_stopped_all_the_same(machine: Machine, api: StubApi) -> None:
    machine.start(TIDEPOOL_NOTICE="file")
    begin(api)
    with api.seen:
        api.down = True
        api.seen.notify_all()
    write_notice(machine, in_s(600))
    end_file = machine.home / "jobs" / "run-1" / "end.json"
    wait_until(end_file.exists)
    assert json.loads(end_file.read_text())["exit_code"] == 9
    with api.seen:
        api.down = False
    assert api.ended("run-1")["interrupted"] is True


def test_ec2_is_asked_with_a_token_and_a_token_that_has_expired_is_replaced(
    machine: Machine, api: StubApi, metadata: Metadata
) -> None:
    machine.start(TIDEPOOL_NOTICE="aws", TIDEPOOL_METADATA_URL=metadata.url)
    wait_until(lambda: len(metadata.asked) >= 2)
    metadata.token = "token-2"
    at = in_s(110)
    metadata.action = {"action": "terminate", "time": iso(at)}
    told = noticed(api)
    assert (is_told(told["at"], at), told["kind"]) == (True, "terminate")
    assert metadata.asked.count("PUT /latest/api/token") == 2


def test_azure_is_heard_for_this_machine_only(machine: Machine, api: StubApi, metadata: Metadata) -> None:
    at = in_s(500)
    other = {"EventType": "Preempt", "Resources": ["another"], "NotBefore": format_datetime(in_s(9), usegmt=True)}
    freeze = {"EventType": "Freeze", "Resources": [VM], "NotBefore": format_datetime(in_s(9), usegmt=True)}
    own = {"EventType": "Preempt", "Resources": [VM], "NotBefore": format_datetime(at, usegmt=True)}
    metadata.events = [other, freeze, own]
    machine.start(TIDEPOOL_NOTICE="azure", TIDEPOOL_METADATA_URL=metadata.url)
    told = noticed(api)
    assert (is_told(told["at"], at), told["kind"]) == (True, "Preempt")


def test_a_notice_is_told_until_it_is_acknowledged_and_no_job_begins_after_it(machine: Machine, api: StubApi) -> None:
    api.interval_s = 0.2
    write_notice(machine, in_s(600))
    machine.start(TIDEPOOL_NOTICE="file")
    noticed(api)
    api.until(lambda: sum(1 for sync in api.syncs if sync.get("interruption")) > 2)
    with api.seen:
        api.interruption = {"at": iso(in_s(600))}
        before = len(api.syncs)
    api.until(lambda: len(api.syncs) > before + 2 and not api.syncs[-1].get("interruption"))
    api.want("run-1", "touch", str(machine.off))
    end = api.ended("run-1")
    assert (end["state"], end["interrupted"]) == ("failed", True)
    assert "taken back before" in end["detail"]
    assert not machine.off.exists()


def test_what_the_control_plane_heard_stops_the_job_too(machine: Machine, api: StubApi) -> None:
    machine.start()
    begin(api)
    with api.seen:
        api.interruption = {"at": iso(in_s(600))}
    api.wake()
    end = api.ended("run-1")
    assert (end["exit_code"], end["interrupted"]) == (9, True)


def test_a_provider_that_cannot_be_asked_is_told_of_once(machine: Machine, api: StubApi) -> None:
    machine.start(TIDEPOOL_NOTICE="aws", TIDEPOOL_METADATA_URL="http://127.0.0.1:9")
    wait_until(lambda: "notice-unknown" in [event["event"] for event in machine.events()])
    begin(api, "echo begun")
    assert api.ended("run-1")["interrupted"] is False


def test_a_job_does_not_see_where_the_machine_asks_its_provider(machine: Machine, api: StubApi) -> None:
    machine.start(TIDEPOOL_NOTICE="file", TIDEPOOL_METADATA_URL="http://127.0.0.1:9")
    begin(api, "env | grep -c -e TIDEPOOL_NOTICE -e TIDEPOOL_METADATA; echo begun")
    api.ended("run-1")
    assert api.log("run-1") == b"0\nbegun\n"
