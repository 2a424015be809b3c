"""Stopping, killing and erasing the embedded control plane: what it says, what it keeps. One story in two starts."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from infra.local import control, daemons, inside, inspect, leaving
from infra.local.control import Options
from infra.local.folder import Folder
from infra.local.parts import STAGE, LocalError
from infra.local.rented import Rented
from tests.infra.test_control import call
from tests.ports import free_port


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    found = Folder(tmp_path_factory.mktemp("leaving") / "tidepool")
    yield found
    control.down(found, lambda _line: None, erase=True, force=True)


def up(folder: Folder, **settings: str) -> tuple[dict[str, str], str]:
    said: list[str] = []
    options = Options(port=free_port(), schedules=False, ttl_lag="off", settings=settings)
    client = control.up(folder, options, said.append)
    return client, "\n".join(said)


def down(folder: Folder, *, erase: bool = False, force: bool = False) -> str:
    said: list[str] = []
    control.down(folder, said.append, erase=erase, force=force)
    return "\n".join(said)


def setting(folder: Folder, name: str) -> str | None:
    functions = inspect._emulator(folder).client("lambda")
    found = functions.get_function_configuration(FunctionName="tidepool-local-api")["Environment"]["Variables"]
    return found.get(name)


def kill(folder: Folder, part: str) -> None:
    os.kill(daemons.running(folder.pid(part)), signal.SIGKILL)
    while daemons.running(folder.pid(part)):
        time.sleep(0.01)


def test_servers_of_one_s_own_are_told_apart_from_what_is_rented():
    own = Rented("main", "box-7", "ssh", "remote", "host", "$0.00")
    bought = Rented("main", "calm-heron-10", "aws", "eu-central-1", "g5.xlarge", "$1.20")
    assert leaving.farewell([own], "", erased=False) == ["its agent waits for it on servers of yours: box-7"]
    assert leaving.farewell([own], "", erased=True) == ["its agent stays on servers of yours: box-7"]
    first, second, last = leaving.farewell([bought, own], "", erased=False)
    assert (first[:11], second.split()[0], last[-5:]) == ("1 rented at", "calm-heron-10", "box-7")
    assert "rented" not in leaving.refusal([own], "")
    both = leaving.refusal([bought, own], "")
    assert "not erased: 1 rented at providers" in both
    assert "and its agent is on servers of yours, and nobody would remove it any more: box-7\n" in both
    assert leaving.refusal([bought], "").count("\n") == 2


def test_it_starts_after_any_end_and_says_what_stays(folder):
    up(folder, TIDEPOOL_SYNC_S="77", TIDEPOOL_LEASE_S="99")
    owner = folder.owner()

    # Killed before it stored anything: an empty one comes up, under the same name, with the settings.
    kill(folder, "control-plane")
    client, said = up(folder)
    assert "are lost" in said
    assert owner in said
    assert folder.owner() == setting(folder, "TIDEPOOL_OWNER") == owner
    assert "TIDEPOOL_LEASE_S=99, TIDEPOOL_SYNC_S=77 (--set NAME= clears one)" in said
    assert setting(folder, "TIDEPOOL_SYNC_S") == "77"

    # Settings given to one that runs are kept for the next start, and said to be.
    _, said = up(folder, TIDEPOOL_LEASE_S="")
    assert "count from the next start on" in said
    assert setting(folder, "TIDEPOOL_LEASE_S") == "99"

    # A machine at a provider: nothing is erased, whether the control plane runs or not, and nothing is stopped for it.
    call(client, "POST", "/v1/projects/main/pools", {"name": "kept"})
    inside.run(inspect._emulator(folder), STAGE, "tests.infra.renting", POOL="kept")
    box = r"box-1 \(project main\): work-aws eu-west-1 p4d.24xlarge at \$32.77/h"
    with pytest.raises(LocalError, match=box):
        down(folder, erase=True)
    assert inspect.status(folder)[1]
    said = down(folder)
    assert "billing on" in said
    assert "box-1" in said
    with pytest.raises(LocalError, match=box):
        down(folder, erase=True)
    assert not daemons.running(folder.pid("control-plane"))

    # Up again with all of it but what was cleared.
    client, said = up(folder)
    assert setting(folder, "TIDEPOOL_LEASE_S") is None
    assert setting(folder, "TIDEPOOL_SYNC_S") == "77"
    assert [each["name"] for each in call(client, "GET", "/v1/projects/main/pools/kept/instances")["items"]] == [
        "box-1"
    ]

    # By force: only the name of the machines' owner is left.
    assert "box-1" in down(folder, erase=True, force=True)
    assert [path.name for path in folder.root.iterdir() if path.name != "lock"] == ["owner"]
    assert folder.owner() == owner
    assert folder.settings() == {}


def test_nothing_is_erased_when_nobody_can_tell_what_is_rented(tmp_path, monkeypatch):
    folder = Folder(tmp_path / "tidepool")
    folder.prepare()
    (folder.state / "services").mkdir()
    (folder.state / "services" / "dynamodb.json").write_text("{}")
    monkeypatch.setattr(leaving, "emulate", lambda *_: None)
    with pytest.raises(LocalError, match="cannot be told"):
        down(folder, erase=True)
    assert "could not be told" in down(folder, erase=True, force=True)


def test_a_folder_without_rented_machines_is_erased_without_a_word_of_them(tmp_path):
    folder = Folder(tmp_path / "tidepool")
    folder.prepare()
    assert "rented" not in down(folder, erase=True)
