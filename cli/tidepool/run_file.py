"""A run file, `.tidepool.yml`: what is to be run, in what surroundings, and on what kind of machine."""

from __future__ import annotations

import os

from tidepool.errors import InputError
from tidepool.file_policies import read_policies, refuse_unknown, texts_of
from tidepool.keys import Said
from tidepool.options import is_variable, seconds_of
from tidepool.script import SCRIPT
from tidepool.text import quoted
from tidepool.yaml_file import FileError, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tidepool.yaml_file import Value

NAMES = (".tidepool.yml", ".tidepool.yaml")
JOB_KEYS = (
    "type", "name", "commands", "command", "argv", "image", "env", "nodes", "files", "working_dir", "kill_after"
)  # fmt: skip
"""What a run file has besides the table of keys."""
COMMAND_KEYS = ("commands", "command", "argv")


class RunFile:
    """What a run file says. `job` holds the keys that only a run has; `argv` is empty when it has no command."""

    __slots__ = ("argv", "env", "files", "folder", "job", "notes", "policies", "shown")

    def __init__(self, shown: str, folder: str) -> None:
        self.shown = shown
        self.folder = folder
        self.job: dict[str, Said] = {}
        self.argv: list[str] = []
        self.env: dict[str, str] = {}
        self.files: list[tuple[str, str]] = []
        self.policies: dict[str, Said] = {}
        self.notes: list[str] = []


def find(folder: str) -> str:
    """The run file of a folder, or nothing. Raises `InputError` when there are two."""
    found = [path for path in (os.path.join(folder, name) for name in NAMES) if os.path.isfile(path)]
    if len(found) > 1:
        raise InputError(f"there are {' and '.join(NAMES)}; keep one of them, or name one with -f")
    return found[0] if found else ""


def load(path: str, shown: str, environ: Mapping[str, str], given: Collection[str] = ()) -> RunFile:
    """Read a run file. Raises `FileError` that names the line and the key at fault.

    `given` are the variables that the command line sets: what it would pass on of these need not be set here.
    """
    content = read(path, shown)
    made = RunFile(shown, os.path.dirname(os.path.abspath(path)))
    if content.kind == "null":
        return made
    if content.kind != "map":
        raise content.refusal("the file", "a map with keys such as commands and resources")
    refuse_unknown(content, JOB_KEYS)
    entries = {key: value for key, value in content.entries.items() if value.kind != "null"}
    _check_type(entries)
    made.policies = read_policies(entries, made.notes)
    for key in ("name", "image", "nodes", "working_dir", "kill_after"):
        if key in entries:
            made.job[key] = Said(_job_value(key, entries[key]), entries[key].place)
    made.argv = _argv(entries)
    if made.argv:
        written = next(key for key in COMMAND_KEYS if key in entries)
        made.job["command"] = Said(made.argv, entries[written].place)
    if "env" in entries:
        made.env = _environment(entries["env"], environ, given)
        made.job["env"] = Said(sorted(made.env), entries["env"].place)
    if "files" in entries:
        made.files = _files(entries["files"])
        made.job["files"] = Said([f"{local}:{remote}" if remote else local for local, remote in made.files],
                                 entries["files"].place)  # fmt: skip
    return made


def from_environment(name: str, environ: Mapping[str, str], where: str) -> str:
    """The value of a variable that is passed on. Raises `InputError` when it is not set here."""
    if name not in environ:
        raise InputError(f"{where}: {quoted(name)} is to come from this environment, and is not set in it")
    return environ[name]


def _check_type(entries: Mapping[str, Value]) -> None:
    kind = entries.get("type")
    if kind is not None and (kind.kind != "text" or kind.text != "task"):
        raise kind.refusal("type", "task, the only type that there is")


def _job_value(key: str, value: Value) -> object:
    if value.kind not in ("text", "number") or not value.text.strip():
        raise value.refusal(key, value.text_form())
    if key == "kill_after":
        number = seconds_of(value.text)
        if number is None:
            raise value.refusal(key, "a duration such as 30s")
        return number
    if key == "nodes":
        if not (value.kind == "number" and value.text.isdigit() and int(value.text) > 0):
            raise value.refusal(key, "a whole number of at least 1")
        return int(value.text)
    if key == "working_dir" and not _stays_below(value.text):
        raise value.refusal(key, "a folder within the code, such as src")
    return value.text


def _argv(entries: Mapping[str, Value]) -> list[str]:
    """The command: `commands` (lines of a script), `command` (a line, or a list of words), `argv` (words)."""
    written = sorted((key for key in COMMAND_KEYS if key in entries), key=lambda key: entries[key].line)
    if not written:
        return []
    if len(written) > 1:
        second = entries[written[1]]
        raise FileError(f"{second.place}: {written[0]} and {written[1]} exclude each other; keep one of them")
    key, value = written[0], entries[written[0]]
    if key != "argv" and value.kind == "text" and value.text.strip():
        return [*SCRIPT, value.text]
    words = texts_of(key, value)
    if not words:
        raise value.refusal(key, FORMS[key])
    return [*SCRIPT, "\n".join(words)] if key == "commands" else words


FORMS = {
    "commands": "a list of at least one shell line, such as [pip install ., python train.py]",
    "command": "a shell line, or a list of words",
    "argv": "a list of at least one word, such as [python, train.py]",
}


def _environment(value: Value, environ: Mapping[str, str], given: Collection[str]) -> dict[str, str]:
    """A map, or a list of `K=V`. A variable without a value is taken from the environment of whoever runs it."""
    form = "a map, or a list with K=V or K"
    environ = {**environ, **dict.fromkeys(given, "")}
    made: dict[str, str] = {}
    if value.kind == "map":
        for name, item in value.entries.items():
            if item.kind in ("list", "map"):
                raise item.refusal(f"env.{name}", "a text")
            _check_variable(item, name)
            missing = item.kind == "null"
            made[name] = from_environment(name, environ, f"{item.place}: env") if missing else item.text
        return made
    texts = texts_of("env", value)
    if texts is None:
        raise value.refusal("env", form)
    for item, text in zip(value.items, texts, strict=True):
        name, mark, setting = text.partition("=")
        _check_variable(item, name)
        made[name] = setting if mark else from_environment(name, environ, f"{item.place}: env")
    return made


def _check_variable(value: Value, name: str) -> None:
    if not is_variable(name):
        raise value.refusal("env", "a variable's name: letters, digits and _, no digit first", quoted(name))


def _files(value: Value) -> list[tuple[str, str]]:
    """Pairs of a local path and where it goes; an empty goal is for the shipping to choose."""
    texts = texts_of("files", value)
    if texts is None:
        raise value.refusal("files", "a list of paths, or of local:remote")
    pairs = []
    for item, text in zip(value.items, texts, strict=True):
        local, mark, remote = text.partition(":")
        if not local or (mark and not remote):
            raise item.refusal("files", "a path, or local:remote")
        if mark and not _stays_below(remote):
            raise item.refusal("files", "local:remote with a remote path within the code, relative and without ..")
        pairs.append((local, remote))
    return pairs


def _stays_below(path: str) -> bool:
    """Whether a relative path leads nowhere above where it starts, and names something that may travel."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return not path.startswith(("/", "~")) and ".." not in parts and "\\" not in path and "\0" not in path
