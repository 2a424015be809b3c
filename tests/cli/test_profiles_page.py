"""docs/profiles.md: every key is there, with the example of the table, and its files can be read."""

import re

import pytest

from tests.cli.conftest import CLI
from tidepool.file_policies import read_policies, refuse_unknown
from tidepool.help import TOPICS
from tidepool.keys import DEPRECATED, KEYS
from tidepool.profiles import choose
from tidepool.run_file import JOB_KEYS, load
from tidepool.yaml_file import read

PAGE = (CLI.parent / "docs" / "profiles.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_a_key_has_its_row_and_its_example_can_be_read(key, tmp_path):
    name = key.field.replace("requirements", "resources")
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
    example = f"{key.name}: {key.example}"
    assert f"`{key.option}`" in row
    assert f"`{example}`" in row
    (tmp_path / "f.yml").write_text(f"resources:\n  {example}" if key.section else example)
    content = read(str(tmp_path / "f.yml"), "f.yml")
    refuse_unknown(content, ())
    assert key.name in read_policies(content.entries, [])


@pytest.mark.parametrize("name", [*JOB_KEYS, *DEPRECATED])
def test_the_other_keys_are_told_too(name):
    assert f"`{name}" in PAGE


def test_the_page_s_files_can_be_read(tmp_path):
    (tmp_path / ".tidepool").mkdir()
    (tmp_path / ".tidepool" / "profiles.yml").write_text(BLOCKS[0])
    environ = {"HOME": str(tmp_path), "API_KEY": "x"}
    assert choose(str(tmp_path), environ).name == "train"
    assert choose(str(tmp_path), environ, "cheap").policies["max_price"].value == 0.5
    (tmp_path / "run.yml").write_text(BLOCKS[1])
    assert load(str(tmp_path / "run.yml"), "run.yml", environ).files == [("data.bin", ""), ("../model", "models/base")]


def test_the_files_in_the_help_can_be_read(tmp_path):
    def block(topic):
        lines = TOPICS[topic].splitlines()
        return "\n".join(line[4:] for line in lines if line.startswith("    ") or not line)

    (tmp_path / ".tidepool").mkdir()
    (tmp_path / ".tidepool" / "profiles.yml").write_text(block("profiles"))
    environ = {"HOME": str(tmp_path), "API_KEY": "x"}
    assert choose(str(tmp_path), environ).policies["idle_duration"].value == "30m"
    (tmp_path / "run.yml").write_text(block("run-file"))
    assert load(str(tmp_path / "run.yml"), "run.yml", environ).job["working_dir"].value == "src"
