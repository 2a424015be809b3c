"""What `make logs` shows of a part that runs or ran."""

from pathlib import Path

import pytest

from infra.local import inspect
from infra.local.folder import Folder

LOG = """\
ready
[ERROR] ValueError: x
Traceback (most recent call last):
  File "a.py", line 1, in f
    g()
    ~^^
ValueError: x
later
"""


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    found = Folder(tmp_path)
    found.prepare()
    found.log("pump").write_text(LOG)
    return found


def shown(folder: Folder, lines: int) -> list[str]:
    return list(inspect.logs(folder, "pump", lines=lines, follow=False))


@pytest.mark.parametrize("lines", [2, 3, 5, 6])
def test_a_traceback_is_shown_from_its_head_on(folder, lines):
    assert shown(folder, lines) == LOG.splitlines()[1:]


def test_other_lines_are_as_many_as_were_asked_for(folder):
    assert shown(folder, 1) == ["later"]
    assert shown(folder, 100) == LOG.splitlines()
    assert shown(folder, 7) == LOG.splitlines()[1:]


def test_an_empty_log_has_no_lines(folder):
    folder.log("pump").write_text("")
    assert shown(folder, 5) == []
