"""Values as people read them."""

import io

import pytest

from tests.cli.builders import NOW, make_instance, make_resources
from tidepool import text
from tidepool.instance_table import instance_lines
from tidepool.output import Output
from tidepool.rows import instance_row, status_text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0s"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (250, "4m 10s"),
        (3600, "1h"),
        (7500, "2h 5m"),
        (86_400, "1d"),
        (273_700, "3d 4h"),
    ],
)
def test_durations_have_at_most_two_units(seconds, words):
    assert text.duration_text(seconds) == words


@pytest.mark.parametrize(
    ("mib", "words"), [(512, "512MB"), (1024, "1GB"), (1536, "1.5GB"), (81_920, "80GB"), (1_048_576, "1TB")]
)
def test_sizes_read_well(mib, words):
    assert text.size_text(mib) == words


@pytest.mark.parametrize(
    ("micros", "words"),
    [
        (3_673_000, "$3.673"),
        (1_200_000, "$1.20"),
        (32_770_000, "$32.77"),
        (3_400, "$0.0034"),
        (0, "$0.00"),
        (12_345_678_900, "$12345.6789"),
    ],
)
def test_money_keeps_what_says_something(micros, words):
    assert text.money_text(micros) == words


def test_prices_that_nobody_bills_say_so():
    assert text.price_text(1_000_000, "catalog", "aws") == "$1.00"
    assert text.price_text(1_000_000, "simulated", "x") == "$1.00 (simulated)"
    assert text.price_text(1_000_000, "", "local") == "$1.00 (simulated)"
    assert text.price_text(None, None, None) == "-"


def test_resources_read_as_in_the_plan():
    assert text.resources_text(make_resources()) == "24xCPU, 220GB, 1xA100 (80GB), 100GB (disk)"
    assert text.resources_text(make_resources(gpus=[], disk_mib=0)) == "24xCPU, 220GB"
    assert text.resources_text(None) == "-"


def test_text_from_elsewhere_cannot_steer_the_terminal():
    assert text.clean("a\x1b[31mred\x07\nb\u202e") == "a [31mred b"
    assert text.clean("plain  text") == "plain  text"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "idle"),
        ({"unreachable": True, "cordoned": True}, "idle (unreachable, cordoned)"),
        ({"state": "busy", "lease": {"holder": "run:r1"}}, "busy (run:r1)"),
        ({"state": "busy", "interrupted": True}, "busy (interrupted)"),
        (
            {"state": "busy", "interrupted": True, "ends_at": "2026-01-01T00:01:30.000Z"},
            "busy (interrupted: 1m 30s left)",
        ),
        ({"state": "busy", "interrupted": True, "ends_at": "2025-12-31T23:59:59.000Z"}, "busy (interrupted: 0s left)"),
        ({"state": "terminating", "reason": "interrupted", "interrupted": True}, "terminating (interrupted)"),
        ({"state": "pending", "reason": "pool-add"}, "pending"),
        ({"state": "pending", "reason": "attempt-failed"}, "pending (attempt-failed)"),
        ({"state": "provisioning", "reason": "launched"}, "provisioning"),
        ({"state": "terminating", "reason": "idle-timeout"}, "terminating (idle-timeout)"),
        (
            {"state": "terminating", "reason": "user-removed", "detail": "the provider still has it"},
            "terminating (user-removed: the provider still has it)",
        ),
        (
            {"state": "terminated", "reason": "provisioning-failed", "detail": "no\ncapacity"},
            "terminated (provisioning-failed)",
        ),
    ],
)
def test_a_status_says_what_a_reader_should_know(changes, status):
    assert status_text(make_instance(**changes), NOW) == status


@pytest.mark.parametrize(
    ("ends_at", "left"), [("2026-01-01T00:01:30.000Z", "1m 30s"), ("2025-12-31T23:59:59.000Z", "0s")]
)
def test_an_interrupted_instance_says_how_long_it_has(ends_at, left):
    taken = make_instance(state="busy", interrupted=True, ends_at=ends_at)
    assert status_text(taken, NOW) == f"busy (interrupted: {left} left)"


@pytest.mark.parametrize(
    ("changes", "idle_for", "expires_in"),
    [
        ({}, "5m", "4m 30s"),
        ({"expires_at": None, "idle_limit_s": None}, "5m", "never"),
        ({"expires_at": "2025-12-31T23:59:59.000Z"}, "5m", "now"),
        ({"state": "busy"}, "-", "-"),
    ],
)
def test_only_an_idle_instance_has_idle_time(changes, idle_for, expires_in):
    assert instance_row(make_instance(**changes), NOW)[7:9] == (idle_for, expires_in)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_colour_and_shortening_are_for_terminals(monkeypatch):
    monkeypatch.setattr(Output, "width", lambda _: 30)
    rows = [("calm-heron-10", "terminated (provisioning-failed)"), ("b", "idle")]
    lines = Output(Terminal(), io.StringIO(), {}).table_lines(("NAME", "STATUS"), rows, shrink=(1,), status=1)
    assert lines == [
        "\x1b[1mNAME           STATUS\x1b[0m",
        "calm-heron-10  \x1b[2mterminated (pr…\x1b[0m",
        "b              \x1b[32midle\x1b[0m",
    ]


def on_a_terminal(monkeypatch, width, *instances):
    monkeypatch.setattr(Output, "width", lambda _: width)
    out = Output(Terminal(), io.StringIO(), {"NO_COLOR": "1"})
    return instance_lines(out, [instance_row(instance, NOW) for instance in instances])


FAILED = {"state": "terminated", "reason": "provisioning-failed", "backend": "local", "price_source": "simulated"}


AT_120 = """\
NAME           BACKEND  REGION   RESOURCES                     PRICE   STATUS                            EXPIRES IN
calm-heron-10  local    shore-1  24xCPU, 220GB, 1xA100 (80GB)  ~$3.67  idle                              4m 30s
keen-cod-13    local    shore-1  24xCPU, 220GB, 1xA100 (80GB)  ~$3.67  terminated (provisioning-failed)  -
~ a simulated price, which nobody bills"""


def test_on_a_narrow_terminal_what_says_least_gives_way_and_the_status_stays_whole(monkeypatch):
    instances = (make_instance(backend="local"), make_instance(name="keen-cod-13", **FAILED))
    assert "\n".join(on_a_terminal(monkeypatch, 120, *instances)) == AT_120
    assert on_a_terminal(monkeypatch, 80, *instances) == [
        "NAME           RESOURCES                PRICE   STATUS",
        "calm-heron-10  24xCPU, 220GB, 1xA100…   ~$3.67  idle",
        "keen-cod-13    24xCPU, 220GB, 1xA100…   ~$3.67  terminated (provisioning-failed)",
        "~ a simulated price, which nobody bills",
    ]


@pytest.mark.parametrize("width", [20, 40, 80, 100, 120, 150, 200])
def test_no_row_is_ever_wider_than_the_terminal(monkeypatch, width):
    long_one = make_instance(name="n" * 63, state="terminating", reason="user-removed", detail="words " * 40)
    lines = on_a_terminal(monkeypatch, width, make_instance(), long_one)
    assert max(map(len, lines)) <= width


def test_a_wide_terminal_gets_every_column(monkeypatch):
    header, row = on_a_terminal(monkeypatch, 200, make_instance(backend="local"))
    assert header.split("  ")[-1].strip() == "CREATED"
    assert "$3.67 (simulated)" in row


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_color_is_respected(environ):
    lines = Output(Terminal(), io.StringIO(), environ).table_lines(("NAME",), [("idle",)], status=0)
    assert lines == ["NAME", "idle"]


def test_a_pipe_gets_plain_whole_columns():
    rows = [("a", "idle " + "x" * 300)]
    assert (
        Output(io.StringIO(), io.StringIO(), {}).table_lines(("N", "S"), rows, shrink=(1,), status=1)[1]
        == "a  idle " + "x" * 300
    )


def test_a_gpu_whose_name_steers_a_terminal_does_not_in_a_listing():
    gpu = {"name": "A100\x1b]0;owned\x07\x1b[2J", "memory_mib": 81920, "count": 1}
    assert text.resources_text(make_resources(gpus=[gpu])).isprintable()
