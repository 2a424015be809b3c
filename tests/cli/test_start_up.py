"""What a command loads is what it costs: counted in modules, which no busy machine changes."""

import subprocess
import sys

import pytest

from tests.cli.builders import make_instance
from tests.cli.conftest import CLI, settings

HEAVY = frozenset(
    {
        "asyncio", "base64", "bz2", "concurrent.futures", "dataclasses", "difflib", "email", "getpass", "gzip",
        "hashlib", "http", "http.client", "inspect", "logging", "lzma", "multiprocessing", "pathlib", "random",
        "shutil", "ssl", "subprocess", "tarfile", "tempfile", "threading", "typing", "urllib", "urllib.parse",
        "urllib.request", "uuid", "zlib",
    }
)  # fmt: skip
NETWORK = frozenset({"socket", "json", "tidepool.client", "tidepool.transport"})
COMMANDS = frozenset({"tidepool.commands.run", "tidepool.commands.pool_add", "tidepool.archive", "tidepool.follow"})

PROGRAM = """
import sys
before = set(sys.modules)
from tidepool.main import main
code = main(sys.argv[1:])
print(code, *sorted(set(sys.modules) - before), file=sys.stderr)
"""


def loaded(stub, tmp_path, *words):
    """The modules that a command line loads, in a Python without site-packages, as its launcher does."""
    command = [sys.executable, "-S", "-c", PROGRAM, *words]
    env = {"PYTHONPATH": str(CLI), **settings(stub, tmp_path)}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    code, *modules = ended.stderr.split()
    assert code == "0"
    return frozenset(modules)


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("--help", NETWORK),
        ("version", NETWORK),
        ("pool --help", NETWORK),
        ("pool ps", frozenset()),
        ("pool ps --json", frozenset()),
        ("ps", frozenset()),
        ("host list", frozenset()),
        ("pool add-ssh --help", NETWORK),
        ("host check --help", NETWORK),
    ],
)
def test_a_short_command_loads_no_heavy_module(stub, tmp_path, words, more):
    stub.instances = [make_instance()]
    modules = loaded(stub, tmp_path, *words.split())
    assert modules & (HEAVY | COMMANDS | (more if words != "version" else more - {"json"})) == frozenset()


def test_help_loads_next_to_nothing(stub, tmp_path):
    own = {name for name in loaded(stub, tmp_path, "--help") if name.startswith("tidepool")}
    assert own == {"tidepool", "tidepool.main", "tidepool.help"}


def test_the_number_of_modules_stays_small(stub, tmp_path):
    stub.instances = [make_instance()]
    assert len(loaded(stub, tmp_path, "pool", "ps")) <= 70
