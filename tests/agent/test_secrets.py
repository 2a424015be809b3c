"""What the agent prints is for everybody to read."""

import signal

from tests.agent.conftest import Machine, wait_until
from tests.agent.stub_api import BOOTSTRAP, StubApi


def test_no_secret_is_ever_printed(machine: Machine, api: StubApi) -> None:
    api.interval_s = 0.2
    machine.start()
    bad = {"code_url": f"{api.origin}/no?X-Amz-Signature=a-signature", "code_sha256": "0" * 64}
    api.want("run-1", "true", env={"PASSWORD": "a-password"}, **bad)
    api.ended("run-1")
    api.want("run-2", "sh", "-c", "echo an-output", env={"PASSWORD": "a-password"})
    api.ended("run-2")
    with api.seen:
        api.wake_status = 403
        api.seen.notify_all()
    wait_until(lambda: "wake-failed" in {event["event"] for event in machine.events()})
    with api.seen:
        api.down = True
        api.seen.notify_all()
    machine.signal(signal.SIGTERM)
    names = {event["event"] for event in machine.events()}
    assert {"registered", "job-started", "job-ended", "wake-failed", "stopping"} <= names
    text = "\n".join(map(str, machine.events()))
    for secret in (BOOTSTRAP, api.registered, "a-signature", "X-Amz", "a-password", "an-output"):
        assert secret not in text


def test_the_bootstrap_token_is_not_in_the_environment_of_jobs(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "env")
    api.ended("run-1")
    assert BOOTSTRAP.encode() not in api.log("run-1")
    assert api.registered.encode() not in api.log("run-1")
