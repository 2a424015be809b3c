"""The parts of the agent that need no process."""

import os
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest

from chalicelib.agent import tidepool_agent as agent


def test_output_beyond_the_limit_ends_with_a_line_that_says_so(tmp_path: Path) -> None:
    log = agent.CappedLog(str(tmp_path / "log"), limit=1 << 20)
    for _ in range(5):
        log.write(b"x" * 400_000)
    content = (tmp_path / "log").read_bytes()
    assert content == b"x" * (1 << 20) + b"\ntidepool: the output exceeds 1 MiB; the rest is not kept\n"


def test_output_that_is_known_already_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"abcde")
    log = agent.CappedLog(str(tmp_path / "log"), skip=5)
    for data in (b"abc", b"defg", b"hi"):
        log.write(data)
    assert (tmp_path / "log").read_bytes() == b"abcdefghi"


def test_a_full_disk_does_not_end_the_job_but_is_told(tmp_path: Path) -> None:
    log = agent.CappedLog("/dev/full")
    log.write(b"abc")
    log.write(b"def")
    assert log.trouble == "the output is incomplete: No space left on device"


@pytest.mark.parametrize(
    ("table", "gpus"),
    [
        ("", []),
        ("NVIDIA L4, 23034, 570.1\n", [("NVIDIA L4", 23034, 1)]),
        ("A, 1, 5\nB, 2, 5\nA, 1, 5\n", [("A", 1, 2), ("B", 2, 1)]),
        ("NVIDIA GB10, [N/A], 580.1\n", [("NVIDIA GB10", 0, 1)]),
    ],
)
def test_equal_gpus_are_one_entry(table: str, gpus: list[tuple[str, int, int]]) -> None:
    expected = [{"name": n, "memory_mib": m, "count": c, "vendor": "nvidia"} for n, m, c in gpus]
    assert agent.parse_gpus(table) == expected


def test_an_agent_that_is_not_wanted_asks_ever_more_rarely_and_no_two_at_once() -> None:
    for times, longest_s in ((0, 5), (1, 10), (3, 40), (6, 300), (1000, 300)):
        rests = {agent.unwanted_rest_s(times) for _ in range(50)}
        assert len(rests) > 1
        assert all(longest_s / 2 <= rest <= longest_s for rest in rests)


def test_a_gpu_that_is_split_is_left_out_as_it_is_when_the_host_is_adopted() -> None:
    table = "NVIDIA A100-SXM4-80GB, 81920, 535.1\n" * 3
    assert [each["count"] for each in agent.parse_gpus(table, "Disabled\nEnabled\n[N/A]\n")] == [2]
    assert agent.parse_gpus(table, "Enabled\nEnabled\nEnabled\n") == []
    assert [each["count"] for each in agent.parse_gpus(table, "")] == [3]  # a driver that knows no MIG fails


def test_addresses_of_bridges_and_loopback_are_not_the_machines() -> None:
    links = """\
2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0
3: docker0    inet 172.17.0.1/16 scope global docker0
4: br-1f2e    inet 172.18.0.1/16 scope global br-1f2e
5: eth1    inet 169.254.3.4/16 scope global eth1
6: ib0    inet6 fd00::5/64 scope global
"""
    assert agent.addresses(links, "127.0.0.1") == ["10.0.0.5", "fd00::5"]


def test_an_address_that_changes_every_day_is_not_told_to_the_neighbours() -> None:
    links = """\
2: eth0    inet6 fd00::1:5/64 scope global temporary dynamic \\       valid_lft 604000sec preferred_lft 85000sec
2: eth0    inet6 fd00::5:5/64 scope global dynamic mngtmpaddr \\       valid_lft 2591000sec preferred_lft 604000sec
"""
    assert agent.addresses(links, "127.0.0.1") == ["fd00::5:5"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"interval_s": "soon"},
        {"interval_s": 30, "job": {"run_id": "../up", "argv": ["true"]}},
        {"interval_s": 30, "job": {"run_id": "r", "argv": []}},
        {"interval_s": 30, "job": {"run_id": "r", "argv": ["true"], "image": "--privileged"}},
        {"interval_s": 30, "log_offsets": [1]},
    ],
)
def test_an_answer_of_another_shape_is_no_answer(body: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        agent.Answer(body)


def test_pauses_grow_to_a_limit_and_have_jitter() -> None:
    delay = agent.Delay()
    pauses = [delay.next() for _ in range(40)]
    assert 0.1 <= pauses[0] <= 0.2
    assert all(15 <= pause <= 30 for pause in pauses[10:])
    assert len(set(pauses[10:])) > 1


def test_a_process_is_known_by_number_and_start() -> None:
    assert agent.started(os.getpid())
    assert agent.started(2**22 + 1) == ""


def test_a_disk_that_refuses_does_not_hide_a_failure(tmp_path: Path) -> None:
    job = agent.Job(agent.Folder(str(tmp_path / "gone")), {"run_id": "run-1"})
    job.fail("no space")
    assert job.end == {"state": "failed", "exit_code": None, "detail": "no space"}
    assert job.report(with_log=True)[0]["state"] == "failed"


def test_the_first_record_of_an_end_stays(tmp_path: Path) -> None:
    folder = agent.Folder(str(tmp_path))
    folder.record_end("exited", 3)
    folder.record_end("failed", detail="lost")
    assert folder.end() == {"state": "exited", "exit_code": 3, "detail": ""}


def test_a_detail_always_fits_into_a_sync(tmp_path: Path) -> None:
    """A name in an archive may be of any length and need not be text; a sync that is refused for it would never end."""
    job = agent.Job(agent.Folder(str(tmp_path)), {"run_id": "run-1"})
    job.fail("\udc80" * 5000)
    assert job.report(with_log=True)[0]["detail"] == "?" * 1000


@pytest.mark.parametrize(("hangs_s", "least", "most", "longest_s"), [(0.0, 8, 20, 100.0), (30.0, 3, 3, 100.0)])
def test_code_is_asked_for_some_times_and_for_some_time(
    monkeypatch: pytest.MonkeyPatch, hangs_s: float, least: int, most: int, longest_s: float
) -> None:
    """Whether each try fails at once or hangs until its own limit."""
    now, tries = [0.0], []

    def pass_time(seconds: float) -> None:
        now[0] += seconds

    def refuse(*_: object) -> None:
        tries.append(now[0])
        pass_time(hangs_s)
        raise ConnectionRefusedError

    monkeypatch.setattr(agent, "_download", refuse)
    monkeypatch.setattr(agent, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=pass_time))
    with pytest.raises(agent.JobError, match="could not be downloaded"):
        agent.fetch("http://127.0.0.1:1/code", "", "", ssl.create_default_context(), lambda: False)
    assert least <= len(tries) <= most
    assert agent.CODE_PATIENCE_S <= now[0] <= longest_s
