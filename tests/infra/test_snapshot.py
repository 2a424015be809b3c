"""The state folder of the emulator after kills at every moment of its life."""

from pathlib import Path

import pytest

from infra.local import snapshot


@pytest.fixture
def state(tmp_path: Path) -> Path:
    found = tmp_path / "state"
    write(found / "root-key", "key")
    write(found / "s3" / "bucket" / "object", "data")
    (found / "services").mkdir()
    return found


def write(path: Path, text: str) -> None:
    """Replace a file as the emulator does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    fresh.write_text(text)
    fresh.replace(path)


def stored(state: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (state / "services").glob("*.json")}


def test_a_kill_before_anything_was_stored_leaves_nothing_and_says_so(state):
    write(state / "services" / "key.pem", "not a service")
    assert not snapshot.recover(state)
    assert list(state.iterdir()) == []


def test_a_folder_that_was_never_started_has_lost_nothing(tmp_path):
    assert snapshot.recover(tmp_path / "state")
    assert snapshot.recover(tmp_path / "state")


def test_a_kill_after_a_stop_leaves_what_that_stop_stored(state):
    snapshot.storing(state)
    write(state / "services" / "dynamodb.json", "1")
    snapshot.stored(state)
    assert snapshot.recover(state)
    assert stored(state) == {"dynamodb.json": "1"}
    assert (state / "s3" / "bucket" / "object").exists()


def test_a_kill_in_the_middle_of_storing_leaves_what_was_stored_before(state):
    for name in ("cloudformation", "dynamodb"):
        write(state / "services" / f"{name}.json", "old")
    snapshot.storing(state)
    write(state / "services" / "dynamodb.json", "new")
    assert snapshot.recover(state)
    assert stored(state) == {"cloudformation.json": "old", "dynamodb.json": "old"}


def test_a_kill_in_the_middle_of_the_first_storing_leaves_nothing(state):
    snapshot.storing(state)
    write(state / "services" / "dynamodb.json", "half")
    assert not snapshot.recover(state)


def test_a_kill_while_the_old_state_is_put_aside_leaves_it(state):
    write(state / "services" / "dynamodb.json", "1")
    write(state / "services.before.new" / "dynamodb.json", "half a copy")
    assert snapshot.recover(state)
    snapshot.storing(state)
    assert snapshot.recover(state)
    assert stored(state) == {"dynamodb.json": "1"}
