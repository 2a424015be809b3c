"""Files and functions that can be seen at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("chalicelib", "cli/tidepool", "infra", "bench") for path in (ROOT / folder).rglob("*.py")
)
FILE_LINES = 400
FUNCTION_LINES = 70
LONGER = {
    "chalicelib/agent/tidepool_agent.py": 2000,  # one file by design: it is served to machines as it is
}


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_and_its_functions_stay_small(path):
    text = path.read_text()
    allowed = LONGER.get(str(path.relative_to(ROOT)), FILE_LINES)
    assert text.count("\n") <= allowed
    long = {f.name: f.end_lineno - f.lineno + 1 for f in functions(ast.parse(text))}
    assert {name: lines for name, lines in long.items() if lines > FUNCTION_LINES} == {}


def test_the_allow_list_names_only_files_that_need_it():
    for name in LONGER:
        assert (ROOT / name).read_text().count("\n") > FILE_LINES
