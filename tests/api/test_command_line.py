"""The client's commands on the real API: the defaults, warnings and refusals that only the server knows."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import POOL, PROJECT, Api
from tidepool.client import Client
from tidepool.command import Session
from tidepool.errors import from_problem
from tidepool.main import main


@pytest.fixture
def command(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command line; what it asks goes to the API in this process."""

    def call(_: Client, method: str, path: str, body: Any = None, **__: Any) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):  # the API's log is not the command's output
            answer = api(method, path, body)
        if answer.status >= 300:
            raise from_problem(answer.status, answer.body)
        return answer.body

    monkeypatch.setattr(Client, "call", call)
    environ = {"TIDEPOOL_URL": "http://localhost", "TIDEPOOL_TOKEN": "x", "TIDEPOOL_PROJECT": PROJECT}
    environ["HOME"] = str(tmp_path / "home")

    def run(*words: str) -> tuple[int, str, str]:
        session = Session(
            stdin=io.StringIO(), environ=environ, folder=str(tmp_path), now=lambda: 0.0, monotonic=lambda: 0.0,
            sleep=lambda _: None,
        )  # fmt: skip
        code = main(list(words), session)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def explained(shown: str) -> dict[str, tuple[Any, str]]:
    return {entry["key"]: (entry["value"], entry["source"]) for entry in json.loads(shown)["explain"]}


def test_explain_shows_the_server_s_defaults_of_each_command(command):
    code, shown, _ = command("pool", "add", "--explain", "--json")
    added = explained(shown)
    assert code == 0
    assert added["pool"] == (POOL, "default")
    assert added["spot_policy"] == ("on-demand", "default")
    assert added["idle_duration"] == (259_200, "default")
    assert added["resources.memory"] == ({"low": 8192, "high": None}, "default")
    code, shown, _ = command("run", "--explain", "--json", "--max-duration", "6h", "--", "true")
    run = explained(shown)
    assert code == 0
    assert run["spot_policy"] == ("auto", "default")
    assert run["idle_duration"] == (300, "default")
    assert run["max_duration"] == ("6h", "--max-duration")


def test_explain_says_what_the_server_made_of_a_file(command, tmp_path):
    (tmp_path / ".tidepool.yml").write_text("commands: ['true']\nretry: true\nidle_duration: off\nmax_price: 2.5\n")
    code, shown, _ = command("run", "--explain")
    assert code == 0
    rows = {line.split()[0]: line for line in shown.splitlines() if line}
    assert "on error, interruption, no-capacity, for 1h" in rows["retry"]
    assert rows["retry"].endswith(".tidepool.yml:2")
    assert rows["idle_duration"].split()[1:] == ["off", ".tidepool.yml:3"]
    assert rows["max_price"].split()[1:] == ["$2.50/h", ".tidepool.yml:4"]
    assert rows["backends"].split()[1:] == ["all", "default"]


def test_a_count_of_80_gpus_is_warned_of(command):
    for words in (("offer", "--gpu", "80"), ("pool", "add", "-y", "--gpu", "80"), ("run", "--gpu", "80", "--explain")):
        assert "note: gpu 80 asks for 80 GPUs in one machine; for memory write 80GB" in command(*words)[2]


def test_a_refusal_names_the_part_the_form_and_the_line(command, tmp_path):
    (tmp_path / ".tidepool").mkdir()
    (tmp_path / ".tidepool" / "profiles.yml").write_text(
        "profiles:\n- name: a\n  default: true\n  resources:\n    gpu: A100:-1\n"
    )
    code, shown, told = command("offer")
    assert (code, shown) == (2, "")
    assert told.startswith("error: requirements.gpu: '-1' is not valid; expected a whole number or a range of them")
    assert "said by profile a of .tidepool/profiles.yml:5" in told
    assert command("offer", "--gpu", "0")[0] in (0, 7)
