"""Named sets of policies: which file they are in, and which one is meant.

Looked for in the current folder, then in its parents up to the repository's root (without a repository: in the current
folder alone), then in the home folder; in each place `.tidepool/profiles.yml` before `.dstack/profiles.yml`, and `.yml`
before `.yaml`. The first file that has the profile wins.
"""

from __future__ import annotations

import os

from tidepool.errors import InputError
from tidepool.file_policies import read_policies, refuse_unknown
from tidepool.text import quoted
from tidepool.yaml_file import FileError, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tidepool.keys import Said
    from tidepool.yaml_file import Value

NAMES = tuple(os.path.join(at, f"profiles.{end}") for at in (".tidepool", ".dstack") for end in ("yml", "yaml"))
VARIABLES = ("TIDEPOOL_PROFILE", "DSTACK_PROFILE")


class Profile:
    """A profile that applies. `chosen_by`: the option, the variable, or `default: true`; `notes` for the reader."""

    __slots__ = ("chosen_by", "file", "name", "notes", "policies")

    def __init__(self, name: str, file: str, chosen_by: str, policies: dict[str, Said], notes: list[str]) -> None:
        self.name = name
        self.file = file
        self.chosen_by = chosen_by
        self.policies = policies
        self.notes = notes


class _File:
    """One file's profiles by name, and the name of its default."""

    __slots__ = ("default", "path", "profiles")

    def __init__(self, path: str, profiles: dict[str, Value], default: str) -> None:
        self.path = path
        self.profiles = profiles
        self.default = default


def choose(folder: str, environ: Mapping[str, str], wanted: str = "") -> Profile | None:
    """Find the profile that is meant, or None when none is named and none is a default.

    Raises `InputError` for a name that no file has, and `FileError` for a file that cannot be taken at its word.
    """
    name, chosen_by = _meant(environ, wanted)
    places = list(_places(folder, environ))
    seen: list[_File] = []
    for place in places:
        for path in NAMES:
            full = os.path.join(place, path)
            if not os.path.isfile(full):
                continue
            file = _read_file(full, shown_path(full, folder, environ))
            seen.append(file)
            found = name or file.default
            if found in file.profiles:
                return _profile(file, found, chosen_by or "default: true")
    if name:
        raise _not_found(name, chosen_by, seen, [shown_path(place, folder, environ) for place in places])
    return None


def shown_path(path: str, folder: str, environ: Mapping[str, str]) -> str:
    """A path as messages name it: relative below the current folder, with `~` below the home folder, else whole."""
    for top, short in ((folder, ""), (_home(environ), "~")):
        if top and path == top:
            return short or "."
        if top and path.startswith(top.rstrip(os.sep) + os.sep):
            return os.path.join(short, os.path.relpath(path, top))
    return path


def _meant(environ: Mapping[str, str], wanted: str) -> tuple[str, str]:
    if wanted:
        return wanted, "--profile"
    for variable in VARIABLES:
        if environ.get(variable):
            return environ[variable], variable
    return "", ""


def _places(folder: str, environ: Mapping[str, str]) -> Iterator[str]:
    within = list(_up_to_repository(folder)) if folder else []
    yield from within
    home = _home(environ)
    if home not in within:
        yield home


def _up_to_repository(folder: str) -> list[str]:
    """The folder and its parents up to the one with `.git`. Above a folder that is in no repository nobody is at home:
    what lies there may be somebody else's."""
    folders, at = [folder], folder
    while not os.path.exists(os.path.join(at, ".git")):
        parent = os.path.dirname(at)
        if parent == at:
            return [folder]
        folders.append(parent)
        at = parent
    return folders


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _read_file(path: str, shown: str) -> _File:
    content = read(path, shown)
    if content.kind == "null":
        return _File(shown, {}, "")
    if content.kind != "map":
        raise content.refusal("the file", "a map with the key profiles")
    for key, value in content.entries.items():
        if key != "profiles":
            raise value.unknown(key, ["profiles"])
    listed = content.entries.get("profiles")
    if listed is None or listed.kind == "null":
        return _File(shown, {}, "")
    if listed.kind != "list":
        raise listed.refusal("profiles", "a list, each entry a map with a name")
    return _file(shown, listed.items)


def _file(shown: str, entries: list[Value]) -> _File:
    profiles: dict[str, Value] = {}
    defaults = []
    for entry in entries:
        name = _name_of(entry)
        if name in profiles:
            raise FileError(f"{entry.place}: {quoted(name)} stands twice: here and in line {profiles[name].line}")
        profiles[name] = entry
        if _is_default(entry):
            defaults.append(name)
    if len(defaults) > 1:
        raise FileError(f"{shown}: only one profile can be the default, and these say so: {', '.join(defaults)}")
    return _File(shown, profiles, defaults[0] if defaults else "")


def _name_of(entry: Value) -> str:
    if entry.kind != "map":
        raise entry.refusal("profiles", "a map with a name")
    name = entry.entries.get("name")
    if name is None:
        raise FileError(f"{entry.place}: a profile needs a name")
    if name.kind not in ("text", "number") or not name.text.strip():
        raise name.refusal("name", "a text")
    return name.text


def _is_default(entry: Value) -> bool:
    default = entry.entries.get("default")
    if default is None or default.kind == "null":
        return False
    if default.kind != "bool":
        raise default.refusal("default", "true or false")
    return default.is_true()


def _profile(file: _File, name: str, chosen_by: str) -> Profile:
    entry = file.profiles[name]
    refuse_unknown(entry, ("name", "default"))
    notes: list[str] = []
    policies = read_policies(entry.entries, notes, source=f"profile {name} of {{place}}")
    return Profile(name, file.path, chosen_by, policies, notes)


def _not_found(name: str, chosen_by: str, seen: list[_File], places: list[str]) -> InputError:
    from tidepool.help import nearest

    close = nearest(name, [each for file in seen for each in file.profiles])
    hint = f"; did you mean {close}?" if close else ""
    lines = [f"no profile is named {quoted(name)} ({chosen_by}){hint}"]
    for file in seen:
        names = [f"{each} (default)" if each == file.default else each for each in file.profiles]
        lines.append(f"  {file.path}: {', '.join(names) or 'none'}")
    lines.append(f"  looked for .tidepool/profiles.yml and .dstack/profiles.yml in {', '.join(places)}")
    return InputError("\n".join(lines), code="unknown-profile", context={"given": name})
