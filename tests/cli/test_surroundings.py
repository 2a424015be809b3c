"""What a process finds itself in: closed streams, a full disk, a removed folder, bytes that are no text."""

import subprocess
import sys

import pytest

from tests.cli.builders import make_instance
from tests.cli.conftest import CLI, Ended, settings


@pytest.fixture
def shell(stub, tmp_path):
    """Run one line of shell, in which `tidepool` is the command line."""

    def run(line, **env):
        script = f'tidepool() {{ "{sys.executable}" -m tidepool "$@"; }}\n{line}'
        given = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(CLI), **settings(stub, tmp_path), **env}
        ended = subprocess.run(
            ["sh", "-c", script], env=given, cwd=tmp_path, capture_output=True, timeout=60, check=False
        )
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    return run


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("tidepool pool ps >&-", 0),
        ("tidepool pool ps 2>&- >/dev/null", 0),
        ("tidepool pool ps <&- >&- 2>&-", 0),
        ("tidepool logs nobody >&-", 4),
        ("tidepool run --no-code -d -- true <&- >&-", 0),
    ],
)
def test_a_closed_stream_is_the_null_device(stub, shell, line, code):
    stub.instances = [make_instance()]
    ended = shell(line)
    assert (ended.code, ended.out, "Traceback" in ended.err) == (code, "", False)


def test_a_closed_stdin_is_nobody_to_ask(stub, shell):
    ended = shell("tidepool pool add --gpu 80GB <&-")
    assert (ended.code, stub.seen("POST", "/instances")) == (2, [])
    assert "say -y/--yes" in ended.err


def test_a_full_disk_is_a_clear_failure(shell):
    ended = shell("tidepool pool list >/dev/full")
    assert (ended.code, ended.err) == (2, "error: No space left on device\n")


def test_a_removed_folder_breaks_only_what_ships_it(stub, shell):
    gone = 'mkdir gone && cd gone && rmdir "$PWD" && '
    assert shell(gone + "tidepool pool ps").code == 0
    assert shell(gone + "tidepool run -d --no-code -- true").code == 0
    ended = shell(gone + "tidepool run -- true")
    assert (ended.code, ended.err) == (2, "error: the current folder was removed; --no-code runs without it\n")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (r'tidepool pool ps --pool "$(printf "\377")"', r"argument --pool: '\udcff' is not UTF-8"),
        (r'tidepool run --no-code --name="$(printf "\377")" -- true', r"argument --name: '--name=\udcff' is not UTF-8"),
        (r'tidepool instance show "$(printf "\377")"', r"argument '\udcff' is not UTF-8"),
    ],
)
def test_bytes_that_are_no_text_are_refused_by_the_argument_s_name(stub, shell, line, told):
    ended = shell(line)
    assert (ended.code, stub.requests, ended.err) == (2, [], f"error: {told}\n")


@pytest.mark.parametrize("name", ["TIDEPOOL_URL", "TIDEPOOL_TOKEN", "TIDEPOOL_PROJECT"])
def test_a_variable_that_is_no_text_is_named(stub, shell, name):
    ended = shell(f'{name}="$(printf "\\377")"; export {name}; tidepool pool ps')
    assert (ended.code, stub.requests, ended.err) == (2, [], f"error: the environment's {name} is not UTF-8\n")
