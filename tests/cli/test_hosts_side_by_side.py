"""Several hosts at once, without any host: who is told what, and what one failure means for the others."""

from threading import Event

import pytest

from tests.cli.builders import make_check, make_instance
from tidepool.errors import ConflictError, HostChecksFailedError, UnavailableError
from tidepool.host_results import ADDED, THERE, Result, failed, result_lines, summary, worst
from tidepool.hosts_side_by_side import side_by_side


def run(hosts, work, *, most=3, told=lambda *_: None, ended=lambda _: None, interrupt=lambda: None):
    return side_by_side(hosts, work, most=most, told=told, ended=ended, interrupt=interrupt)


def test_each_host_has_one_result_and_no_more_run_at_once_than_allowed():
    running, most = set(), []

    def work(host, tell):
        running.add(host)
        most.append(len(running))
        tell("step")
        running.discard(host)
        return Result(host, ADDED)

    told, ended = [], []
    hosts = [f"h{number}" for number in range(20)]
    results = run(hosts, work, told=lambda *words: told.append(words), ended=ended.append)
    assert sorted(result.host for result in results) == sorted(hosts)
    assert (results, sorted(told), max(most) <= 3) == (ended, sorted((host, "step") for host in hosts), True)


def test_a_defect_with_one_host_is_its_own_result():
    def work(host, _tell):
        if host == "bad":
            raise ZeroDivisionError("oops")
        return Result(host, ADDED)

    results = {result.host: result for result in run(["a", "bad", "b"], work)}
    assert (results["a"].exit_code, results["bad"].exit_code, results["b"].exit_code) == (0, 1, 0)
    assert "ZeroDivisionError" in results["bad"].error.detail


def test_an_interrupt_ends_what_runs_and_begins_nothing_more():
    begun, go_on = [], Event()

    def work(host, tell):
        begun.append(host)
        tell("step")
        go_on.wait(60)
        return Result(host, ADDED)

    def told(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["a", "b", "c"], work, most=1, told=told, interrupt=go_on.set)
    assert begun == ["a"]


def errors(*kinds):
    return [failed("h", kind("x")) for kind in kinds]


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([Result("h", ADDED)], 0),
        ([Result("h", ADDED), *errors(HostChecksFailedError)], 9),
        (errors(HostChecksFailedError, ConflictError), 9),
        (errors(UnavailableError, HostChecksFailedError), 8),
    ],
)
def test_the_exit_code_is_that_of_the_worst(results, code):
    assert worst(results) == code


def test_a_line_says_how_it_went_and_what_to_do():
    instance = make_instance(name="calm-heron-10")
    warned = [make_check(status="warn", code="disk-low")]
    assert result_lines(Result("a", ADDED, instance=instance, checks=warned), 3) == [
        "a    added as calm-heron-10 (warnings: disk-low)"
    ]
    wrong = [make_check(status="fail", code="no-sudo", found="none", fix="install sudo")]
    error = HostChecksFailedError("a is not fit", context={"checks": wrong})
    assert result_lines(failed("a", error), 3) == ["a    failed: no-sudo: none", "       fix: install sudo"]
    assert summary([Result("a", THERE), failed("b", error), Result("c", ADDED)]) == (
        "3 hosts: 1 added, 1 already there, 1 failed"
    )
