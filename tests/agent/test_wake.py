"""Wake-ups: heard at once, and never a reason to spin."""

import time

from tests.agent.conftest import Machine, quickest
from tests.agent.stub_api import StubApi
from tests.agent.test_code import archive, serve


def test_a_wake_makes_the_agent_sync_at_once(machine: Machine, api: StubApi) -> None:
    api.interval_s = 3600
    machine.start()
    api.until(lambda: api.polls)

    def waking_s(_number: int) -> float:
        before = len(api.syncs)
        began = time.monotonic()
        api.wake()
        api.until(lambda: len(api.syncs) > before)
        return time.monotonic() - began

    assert quickest(waking_s) < 0.5


def test_a_url_that_expires_is_renewed_by_a_sync(machine: Machine, api: StubApi) -> None:
    api.wake_expires_s, api.wake_hold_s = 2, 1.1
    machine.start()
    api.until(lambda: len(api.syncs) >= 3)
    assert api.sync_times[-1] - api.sync_times[0] > 0.5


def test_a_url_that_is_refused_costs_a_few_syncs_not_a_storm(machine: Machine, api: StubApi) -> None:
    api.wake_status = 403
    machine.start()
    api.until(lambda: api.polls >= 5)
    assert api.poll_times[4] - api.poll_times[0] > 0.1 + 0.2 + 0.4 + 0.8
    assert 2 <= len(api.syncs) <= 6


def test_a_queue_that_fails_is_asked_ever_more_rarely(machine: Machine, api: StubApi) -> None:
    api.wake_status, api.interval_s = 500, 3600
    machine.start()
    api.until(lambda: api.polls >= 5)
    assert api.poll_times[4] - api.poll_times[0] > 0.1 + 0.2 + 0.4 + 0.8
    assert len(api.syncs) == 1


def test_a_queue_that_answers_at_once_again_and_again_is_not_asked_in_a_loop(machine: Machine, api: StubApi) -> None:
    began = time.monotonic()
    machine.start()
    api.until(lambda: api.polls)
    give_up_at = time.monotonic() + 1.5
    while time.monotonic() < give_up_at:
        api.wake()
        time.sleep(0.01)
    assert api.polls <= 22 + (time.monotonic() - began)


def test_without_a_wake_url_the_interval_counts(machine: Machine, api: StubApi) -> None:
    api.wake_expires_s = 0
    api.interval_s = 0.3
    machine.start()
    api.until(lambda: len(api.syncs) >= 4)
    assert 0.5 < api.sync_times[3] - api.sync_times[0] < 15
    assert api.polls == 0


def test_a_proxy_of_the_environment_is_heeded_by_no_part_of_the_agent(machine: Machine, api: StubApi) -> None:
    """The adoption tries the direct way, so the direct way is taken by all."""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    machine.start(**proxies)
    api.want("run-1", "sh", "pkg/run.sh", **serve(api, archive(({"name": "pkg/run.sh"}, b"echo $http_proxy"))))
    assert api.ended("run-1")["exit_code"] == 0
    assert api.log("run-1") == b"http://127.0.0.1:9\n"  # a job has what its host has
    api.until(lambda: api.polls)
