"""The embedded control plane as `make up` and `make down` run it: one story, because a start takes seconds."""

import json
import os
import signal
import stat
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local import control, daemons, inspect
from infra.local.control import Options
from infra.local.folder import PARTS, Folder
from infra.local.parts import LocalError
from tests.infra.operator import run
from tests.ports import free_port

OPTIONS = Options(schedules=False, ttl_lag="off", settings={"TIDEPOOL_SYNC_S": "77"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    found = Folder(tmp_path_factory.mktemp("control") / "tidepool")
    yield found
    control.down(found, lambda _line: None, erase=True, force=True)


def up(folder: Folder) -> tuple[dict[str, str], list[str]]:
    said: list[str] = []
    return control.up(folder, replace(OPTIONS, port=free_port()), said.append), said


def call(client: dict[str, str], method: str, path: str, body: Any = None, *, token: str | None = None) -> Any:
    request = urllib.request.Request(
        client["TIDEPOOL_URL"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token or client['TIDEPOOL_TOKEN']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def test_it_comes_up_serves_keeps_its_state_and_survives_a_crash(folder):
    client, said = up(folder)
    assert {"packaging", "deploying"} <= set(said)
    assert call(client, "GET", "/v1/health")["status"] == "ok"
    assert call(client, "GET", "/v1/me")["role"] == "admin"
    call(client, "POST", "/v1/projects/main/pools", {"name": "kept"})
    assert inspect.status(folder)[1]
    assert stat.S_IMODE(folder.env_file.stat().st_mode) == 0o600

    # Up again: the same one, at once.
    again, said = up(folder)
    assert again == client
    assert said == [f"already running at {client['TIDEPOOL_URL']}"]

    # Down and up: another port, the same rows, the same token, and nothing to package or deploy.
    control.down(folder, said.append)
    assert not any(daemons.running(folder.pid(part)) for part in PARTS)
    client, said = up(folder)
    assert not {"packaging", "deploying"} & set(said)
    assert [pool["name"] for pool in call(client, "GET", "/v1/projects/main/pools")["items"]] == ["kept"]

    # One part is killed: what is left of it is stopped, and all of it comes up.
    os.kill(daemons.running(folder.pid("control-plane")), signal.SIGKILL)
    while daemons.running(folder.pid("control-plane")):
        time.sleep(0.01)
    client, said = up(folder)
    assert call(client, "GET", "/v1/health")["status"] == "ok"
    assert [pool["name"] for pool in call(client, "GET", "/v1/projects/main/pools")["items"]] == ["kept"]


def test_a_token_of_nobody_is_refused(folder):
    client, _ = up(folder)
    with pytest.raises(urllib.error.HTTPError) as refused:
        call(client, "GET", "/v1/me", token="tp.0000000000000000." + "x" * 43)
    with refused.value:
        assert refused.value.code == 401


def test_a_token_that_an_operator_makes_with_keys_alone_is_let_in(folder):
    client, _ = up(folder)
    made = run(inspect._emulator(folder), "infra.token", "--stage", "local", "--project", "second", "--role", "manager")
    assert made.returncode == 0, made.stderr
    who = call(client, "GET", "/v1/me", token=made.stdout.strip())
    assert (who["project"], who["role"]) == ("second", "manager")
    assert call(client, "GET", "/v1/projects/second/pools", token=made.stdout.strip())["items"] == []


def test_the_functions_get_the_settings_given_and_the_address_agents_reach(folder):
    client, _ = up(folder)
    functions = inspect._emulator(folder).client("lambda")
    variables = functions.get_function_configuration(FunctionName="tidepool-local-api")["Environment"]["Variables"]
    assert variables["TIDEPOOL_SYNC_S"] == "77"
    assert variables["TIDEPOOL_PUBLIC_URL"] == client["TIDEPOOL_URL"]
    assert variables["TIDEPOOL_LOCAL_CLOUD_URL"] == client["TIDEPOOL_LOCAL_CLOUD_URL"]
    assert variables["TIDEPOOL_STAGE"] == "local"


def test_without_schedules_no_rule_fires(folder):
    up(folder)
    rules = inspect._emulator(folder).client("events").list_rules()["Rules"]
    assert rules
    assert {rule["State"] for rule in rules if "ScheduleExpression" in rule} == {"DISABLED"}


LOG_WITHIN_S = 60


def test_logs_are_those_of_the_functions(folder):
    client, _ = up(folder)
    call(client, "GET", "/v1/health")
    deadline = time.monotonic() + LOG_WITHIN_S  # a line comes a moment after the answer
    while not any("/v1/health" in line for line in inspect.logs(folder, "api", lines=50, follow=False)):
        assert time.monotonic() < deadline, "the request is not in the log"
        time.sleep(0.1)
    with pytest.raises(LocalError, match="there is no 'nonsense'"):
        list(inspect.logs(folder, "nonsense", lines=1, follow=False))


def test_a_port_that_is_taken_is_named(folder, tmp_path: Path):
    client, _ = up(folder)
    port = int(client["TIDEPOOL_URL"].split(":")[2].partition("/")[0])
    other = Folder(tmp_path / "other")
    with pytest.raises(LocalError, match=f"port {port} is in use"):
        control.up(other, Options(port=port), lambda _line: None)
    assert not any(daemons.running(other.pid(part)) for part in PARTS)
