"""The first token, made with an operator's keys on the emulator's tables."""

import hashlib
import time
from typing import Any
from uuid import uuid4

import pytest

from infra.local.deploy import Emulator
from tests.emulation import create_tables
from tests.infra.operator import run

DAY_S = 24 * 3600


@pytest.fixture
def stage(emulator: Emulator) -> str:
    """A stage with tables and nothing in them."""
    name = f"t{uuid4().hex[:8]}"
    create_tables(name, emulator.client("dynamodb"))
    return name


def rows(emulator: Emulator, stage: str, noun: str) -> list[dict[str, Any]]:
    items = emulator.client("dynamodb").scan(TableName=f"tidepool-{stage}-{noun}")["Items"]
    return [{name: next(iter(value.values())) for name, value in item.items()} for item in items]


def row_of(emulator: Emulator, stage: str, text: str) -> dict[str, Any]:
    """The stored row that a token's text is the bearer form of."""
    _, token_id, secret = text.strip().split(".")
    (row,) = [each for each in rows(emulator, stage, "tokens") if each["token_id"] == token_id]
    assert row["secret_sha256"] == hashlib.sha256(secret.encode()).hexdigest()
    return row


def test_the_first_token_is_an_admin_s_of_a_project_that_is_made_with_it(emulator, stage):
    done = run(emulator, "infra.token", "--stage", stage)
    assert done.returncode == 0, done.stderr
    assert "admin of project main" in done.stderr
    assert done.stdout.strip() not in done.stderr
    row = row_of(emulator, stage, done.stdout)
    assert (row["project"], row["role"], row["name"]) == ("main", "admin", "admin")
    assert int(row["ttl"]) - time.time() == pytest.approx(90 * DAY_S, abs=60)
    assert [(each["project"], each["name"]) for each in rows(emulator, stage, "pools")] == [("main", "#project")]


def test_a_second_one_is_as_it_is_asked_for_and_leaves_the_project_and_the_first_one_alone(emulator, stage):
    first = run(emulator, "infra.token", "--stage", stage)
    pools = rows(emulator, stage, "pools")
    wanted = ("--role", "viewer", "--name", "dash board", "--expires", "12h", "--every-project")
    second = run(emulator, "infra.token", "--stage", stage, *wanted)
    assert second.returncode == 0, second.stderr
    row = row_of(emulator, stage, second.stdout)
    assert (row["project"], row["role"], row["name"]) == ("*", "viewer", "dash board")
    assert int(row["ttl"]) - time.time() == pytest.approx(DAY_S / 2, abs=60)
    assert row_of(emulator, stage, first.stdout)["role"] == "admin"
    assert rows(emulator, stage, "pools") == pools


def test_a_stage_that_was_never_deployed_is_named(emulator):
    done = run(emulator, "infra.token", "--stage", "absent")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no stage 'absent'" in done.stderr


def test_no_region_is_asked_for_and_not_guessed(emulator, stage):
    done = run(emulator, "infra.token", "--stage", stage, region="")
    assert (done.returncode, done.stdout) == (1, "")
    assert "set AWS_DEFAULT_REGION" in done.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--stage", "Not A Stage"), "--stage"),
        (("--role", "agent"), "--role"),
        (("--name", ""), "--name"),
        (("--expires", "0s"), "--expires"),
        (("--expires", "367d"), "--expires"),
        (("--expires", "soon"), "--expires"),
    ],
)
def test_what_no_token_can_be_is_refused_before_anything_is_written(emulator, wrong, said):
    done = run(emulator, "infra.token", "--stage", "absent", *wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{said}: " in done.stderr


def test_what_cannot_be_a_project_s_name_is_refused(emulator, stage):
    done = run(emulator, "infra.token", "--stage", stage, "--project", "Not A Name")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Not A Name" in done.stderr
    assert rows(emulator, stage, "tokens") == []
