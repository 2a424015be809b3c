"""Each benchmark runs, once and small, and says what it measured in a form that others can read.

Only installing the client is left out, which may need an index of packages. What needs the embedded control plane
shares one session, because bringing it up takes longer than all the rest.
"""

import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.__main__ import BENCHMARKS, PEERS, named
from bench.records import COLUMNS, Goal, Record, record, store, table
from bench.session import Effort, Session
from tests.ssh.server import SSHD

FIELDS = {"name", "n", "p50", "p95", "p99", "unit", "goal", "goal_text", "anchor", "meets"}


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with closing(Session(effort=Effort.ONCE)) as made:
        yield made


@pytest.mark.parametrize("name", sorted(BENCHMARKS.keys() - {"cli-install"}, key=list(BENCHMARKS).index))
def test_a_benchmark_runs_once_and_writes_well_formed_records(name: str, session: Session, tmp_path: Path) -> None:
    if name == "ssh" and not Path(SSHD).exists():
        pytest.skip("openssh-server is not installed")
    records = list(named(name)(session))
    assert records
    store(tmp_path / "bench.json", records)
    for written in json.loads((tmp_path / "bench.json").read_text()):
        assert set(written) == FIELDS
        assert written["n"] >= 1
        assert 0 <= written["p50"] <= written["p95"] <= written["p99"] < math.inf
        assert (written["goal"] is None) == (written["meets"] is None)
        assert bool(written["goal_text"]) == (written["goal"] is not None)


@pytest.mark.parametrize("name", PEERS)
def test_a_comparison_with_the_peer_can_be_loaded_without_the_peer(name: str) -> None:
    assert callable(named(name))


def test_percentiles_are_samples_and_the_median_of_two_is_between_them() -> None:
    ten = record("r", range(1, 11), "ms")
    assert (ten.n, ten.p50, ten.p95, ten.p99) == (10, 5.5, 10, 10)
    hundred = record("r", range(1, 101), "ms")
    assert (hundred.p50, hundred.p95, hundred.p99) == (50.5, 95, 99)


@pytest.mark.parametrize(
    ("goal", "meets"),
    [
        (Goal(2, "at most 2"), True),
        (Goal(1.9, "at most 1.9"), False),
        (Goal(2, "at least 2", at_least=True), True),
        (Goal(2.1, "at least 2.1", at_least=True), False),
        (Goal(2, "p95 at most 2", at="p95"), False),
    ],
)
def test_a_goal_is_held_against_the_percentile_it_names(goal: Goal, meets: bool) -> None:
    assert record("r", [1, 2, 3], "s", goal).meets is meets


def test_a_missed_goal_is_marked_in_the_table_and_no_goal_is_neither_met_nor_missed() -> None:
    records: list[Record] = [record("late", [2], "s", Goal(1, "at most 1 s")), record("plain", [2], "s")]
    head, late, plain = table(records)
    assert head.split() == [column for column in COLUMNS if column]
    assert late.startswith("MISSED  late")
    assert plain.startswith("        plain")


def test_a_record_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        record("r", [], "s")
