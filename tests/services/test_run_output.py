"""The output of a run over its tries: whoever writes late, and whenever it is read, nothing covers anything else."""

from dataclasses import replace

import pytest

from chalicelib.services import run_output
from chalicelib.services.run_output import PART
from tests.services.steps import submit


@pytest.fixture
def run(world):
    return submit(world)


def then(run):
    """The run in its next try."""
    return replace(run, tries=replace(run.tries, number=run.tries.number + 1))


class Reader:
    """Follows a run's output as a client does: from where the last answer ended."""

    def __init__(self, deps):
        self.deps = deps
        self.after = 0

    def read(self, run):
        """Everything that there is now."""
        said = b""
        while True:
            begins, data = run_output.read(self.deps, run, self.after, 1000)
            if not data:
                return said.decode()
            said, self.after = said + data, begins + len(data)


def test_a_late_chunk_of_a_try_does_not_cover_the_output_of_the_next(world, run):
    """A sync reads the run; its try is ended and the next one says something; then the sync stores what it was sent."""
    run_output.keep(world.deps, run, 0, b"one\n")
    run_output.close(world.deps, run, "try 2 follows")
    run_output.keep(world.deps, then(run), 0, b"two\n")
    run_output.keep(world.deps, run, 4, b"late\n" * 100)
    assert Reader(world.deps).read(then(run)) == "one\n" + "late\n" * 100 + "tidepool: try 2 follows\ntwo\n"


@pytest.mark.parametrize("late_at", range(4))
def test_a_follower_sees_every_line_whole_whenever_a_late_chunk_comes(world, run, late_at):
    """Late before the line is written, before the row is, before the next try speaks, and after."""
    reader, seen, second = Reader(world.deps), "", then(run)
    steps = [
        (run, lambda: run_output.close(world.deps, run, "try 2 follows")),
        (second, lambda: None),
        (second, lambda: run_output.keep(world.deps, second, 0, b"two\n")),
    ]
    steps.insert(late_at, (steps[min(late_at, 2)][0], lambda: run_output.keep(world.deps, run, 4, b"late\n")))
    run_output.keep(world.deps, run, 0, b"one\n")
    seen += reader.read(run)
    for row, step in steps:
        step()
        seen += reader.read(row)
    assert seen.replace("late\n", "") == "one\ntidepool: try 2 follows\ntwo\n"
    assert Reader(world.deps).read(second) == "one\nlate\ntidepool: try 2 follows\ntwo\n"


def test_a_line_that_was_written_for_an_end_that_did_not_happen_is_not_read(world, run):
    run_output.keep(world.deps, run, 0, b"one\n")
    run_output.close(world.deps, run, "try 2 follows")
    assert Reader(world.deps).read(run) == "one\n"


def test_two_who_end_the_same_try_write_one_line(world, run):
    run_output.close(world.deps, run, "ended: interrupted")
    run_output.close(world.deps, run, "ended: machine-lost, says another")
    assert Reader(world.deps).read(then(run)) == "tidepool: ended: interrupted\n"


def test_what_a_try_lost_of_its_output_does_not_hide_what_follows(world, run):
    run_output.keep(world.deps, run, 9, b"after a gap\n")
    run_output.close(world.deps, run, "try 2 follows")
    second = then(run)
    run_output.keep(world.deps, second, 0, b"two\n")
    assert Reader(world.deps).read(second) == "tidepool: try 2 follows\ntwo\n"


def test_the_next_try_is_waited_for_where_it_begins(world, run):
    """All of it may have expired by then; nothing is looked for again and again."""
    begins, data = run_output.read(world.deps, then(then(run)), 0, 1000)
    assert (begins, data) == (4 * PART, b"")


def test_output_beyond_a_part_is_not_kept(world, run):
    run_output.keep(world.deps, run, PART - 1, b"ab")
    run_output.close(world.deps, run, "try 2 follows")
    assert Reader(world.deps).read(then(run)) == "tidepool: try 2 follows\n"
