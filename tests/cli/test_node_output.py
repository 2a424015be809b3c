"""The output of several nodes as one: whole lines, each behind the rank of its node."""

import io
from types import SimpleNamespace
from typing import Any

from tests.cli.builders import NOW, make_attempt, make_run
from tidepool.commands.runs import ListRuns
from tidepool.node_output import LONGEST_LINE, Output
from tidepool.output import Output as Screen
from tidepool.progress import Progress
from tidepool.rows import nodes_text


def reader(nodes: int, said: dict[int, list[bytes]]) -> tuple[Any, list[tuple[int, int]]]:
    """Hands out what each node says, a piece at a time; the last piece of a node completes it."""
    asked = []

    def read(rank: int, after: int) -> tuple[bytes, Any]:
        asked.append((rank, after))
        pieces = said[rank]
        data = pieces.pop(0) if pieces else b""
        chunk = {"run": make_run(nodes=nodes), "next": after + len(data), "complete": not data and not pieces}
        return data, chunk

    return read, asked


def drain(output: Output) -> bytes:
    text, over = b"", False
    while not over:
        data, _, over = output.poll()
        text += data
    return text


def test_the_output_of_one_machine_is_passed_on_as_it_is():
    read, _ = reader(1, {0: [b"one", b"\xff\n"]})
    assert drain(Output(read)) == b"one\xff\n"


def test_each_line_of_several_nodes_comes_whole_behind_its_rank():
    read, _ = reader(2, {0: [b"a\nb", b"c\n"], 1: [b"x\n", b"last"]})
    assert drain(Output(read)) == b"[0] a\n[1] x\n[0] bc\n[1] last\n"


def test_one_node_alone_is_passed_on_as_it_is():
    read, asked = reader(2, {1: [b"x", b"y\n"]})
    assert drain(Output(read, 1)) == b"xy\n"
    assert {rank for rank, _ in asked} == {1}


def test_a_nodes_stream_that_is_complete_is_not_asked_again():
    read, asked = reader(2, {0: [b"a\n"] * 5, 1: []})
    drain(Output(read))
    assert [rank for rank, _ in asked].count(1) == 1


def test_a_progress_bar_is_seen_while_it_moves_and_ends_as_the_line_that_a_terminal_shows():
    read, _ = reader(2, {0: [b"10%\r20%\r", b"30%", b"\r40%\r\n"], 1: [b"a\r\nb\n"]})
    output = Output(read)
    assert output.poll()[0] == b"[0] 20%\n[1] a\n[1] b\n"
    assert output.poll()[0] == b""
    assert output.has_advanced
    assert output.poll()[0] == b"[0] 40%\n"


def test_a_line_that_ends_with_cr_lf_is_one_line_wherever_the_stream_is_cut():
    read, _ = reader(2, {0: [b"one\r", b"\ntwo\r\n"], 1: []})
    assert drain(Output(read)) == b"[0] one\n[0] two\n"


def test_a_line_that_does_not_end_is_shown_all_the_same_when_it_is_long_or_all_that_there_is():
    long = b"x" * (LONGEST_LINE + 1)
    read, _ = reader(2, {0: [long, b"and more"], 1: []})
    output = Output(read)
    assert output.poll()[0] == b"[0] %b\n" % long
    assert output.poll()[0] == b""
    assert output.rest() == b"[0] and more\n"


def test_streams_are_not_asked_for_while_no_node_can_have_said_anything():
    """32 nodes that are on their way: one request tells that, not 32 of them several times a second."""
    states, asked = ["provisioning", "running", "running"], []

    def read(rank: int, after: int) -> tuple[bytes, Any]:
        asked.append(rank)
        chunk = {"run": make_run(nodes=32, state=states[0]), "next": after, "complete": states == ["running"]}
        return b"", chunk

    output = Output(read)
    assert (output.poll()[2], asked) == (False, [0])
    states.pop(0)
    assert (output.poll()[2], asked[1:]) == (False, [*range(32)])
    states.pop(0)
    assert output.poll()[2]


def test_the_failure_of_each_node_s_first_attempt_is_told():
    progress = Progress(SimpleNamespace(out=None, monotonic=lambda: 0.0))
    failed = [make_attempt(attempt_id=f"i-run-1-{rank}-1", kind="quota", state="refused") for rank in (0, 1)]
    assert progress.untold(failed) == failed
    later = make_attempt(attempt_id="i-run-1-2-1", kind="quota", state="refused")
    assert progress.untold([*failed, later]) == [later]


def test_many_nodes_leave_room_on_a_terminal(monkeypatch):
    monkeypatch.setattr(Screen, "width", lambda _: 100)
    jobs = [{"rank": n, "state": "running", "instance": {"instance_id": "i", "name": f"gpu-{n}"}} for n in range(32)]
    stdout = io.StringIO()
    stdout.isatty = lambda: True
    out = Screen(stdout, io.StringIO(), {"NO_COLOR": "1"})
    client = SimpleNamespace(runs=SimpleNamespace(pages=lambda **_: [[make_run(jobs=jobs)]]))
    ListRuns().run(SimpleNamespace(json=False, all=False), SimpleNamespace(out=out, client=client, now=lambda: NOW))
    assert "  running  " in stdout.getvalue()
    assert max(map(len, stdout.getvalue().splitlines())) <= 100


def test_a_table_names_the_instances_by_rank_and_what_became_of_them():
    jobs = [
        {"rank": 0, "state": "stopped", "instance": {"instance_id": "i", "name": "box-1"}},
        {"rank": 1, "state": "failed", "instance": {"instance_id": "j", "name": "box-2"}},
        {"rank": 2, "state": "waiting", "instance": {"instance_id": "k", "name": "bold-yak-7"}},
        {"rank": 3, "state": "waiting", "instance": None},
    ]
    assert nodes_text(make_run(jobs=jobs)) == "box-1 (stopped), box-2 (failed), bold-yak-7 (on its way), -"
    assert nodes_text(make_run()) == ""
