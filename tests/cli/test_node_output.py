"""The output of several nodes as one: whole lines, each behind the rank of its node."""

from typing import Any

from tests.cli.builders import make_run
from tidepool.node_output import LONGEST_LINE, Output
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


def test_a_line_that_does_not_end_is_shown_all_the_same_when_it_is_long_or_all_that_there_is():
    long = b"x" * (LONGEST_LINE + 1)
    read, _ = reader(2, {0: [long, b"and more"], 1: []})
    output = Output(read)
    assert output.poll()[0] == b"[0] %b\n" % long
    assert output.poll()[0] == b""
    assert output.rest() == b"[0] and more\n"


def test_a_table_names_the_instances_by_rank_and_what_became_of_them():
    jobs = [
        {"rank": 0, "state": "stopped", "instance": {"instance_id": "i", "name": "box-1"}},
        {"rank": 1, "state": "failed", "instance": {"instance_id": "j", "name": "box-2"}},
        {"rank": 2, "state": "waiting", "instance": {"instance_id": "k", "name": "bold-yak-7"}},
        {"rank": 3, "state": "waiting", "instance": None},
    ]
    assert nodes_text(make_run(jobs=jobs)) == "box-1 (stopped), box-2 (failed), bold-yak-7 (on its way), -"
    assert nodes_text(make_run()) == ""
