"""Which profile holds, and what a file with profiles may say."""

import os

import pytest

from tidepool.errors import InputError
from tidepool.profiles import choose
from tidepool.yaml_file import FileError


@pytest.fixture
def repository(tmp_path):
    """A repository with a folder two levels below its root, and a home folder elsewhere."""
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "a" / "b").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    return tmp_path / "repository"


def write(folder, *names, at=".tidepool", end="yml", default=""):
    (folder / at).mkdir(exist_ok=True)
    lines = [
        f"- name: {name}\n  pool: {at.strip('.')}-{end}\n  default: {'yes' if name == default else 'no'}\n"
        for name in names
    ]
    (folder / at / f"profiles.{end}").write_text("profiles:\n" + "".join(lines))


def chosen(folder, name="", **environ):
    home = next(parent for parent in folder.parents if (parent / "home").exists()) / "home"
    found = choose(str(folder), {"HOME": str(home), **environ}, name)
    return (found.name, found.file, found.policies["pool"].value) if found else None


def test_without_files_no_profile_holds(repository):
    assert chosen(repository / "a" / "b") is None


def test_the_nearest_file_that_has_the_profile_wins(repository):
    folder = repository / "a" / "b"
    write(repository.parent / "home", "x", "deep", default="deep")
    assert chosen(folder) == ("deep", "~/.tidepool/profiles.yml", "tidepool-yml")
    write(repository, "x")
    root = os.path.join(str(repository), ".tidepool", "profiles.yml")
    assert chosen(folder, "x") == ("x", root, "tidepool-yml")
    assert chosen(folder)[0] == "deep"
    write(folder, "y")
    assert chosen(folder, "x")[1] == root
    write(folder, "x", "y")
    assert chosen(folder, "x")[1] == ".tidepool/profiles.yml"


def test_ours_comes_before_theirs_and_yml_before_yaml(repository):
    write(repository, "x", at=".dstack", end="yaml")
    assert chosen(repository, "x")[2] == "dstack-yaml"
    write(repository, "x", at=".dstack")
    assert chosen(repository, "x")[2] == "dstack-yml"
    write(repository, "x", end="yaml")
    assert chosen(repository, "x")[2] == "tidepool-yaml"
    write(repository, "x")
    assert chosen(repository, "x")[2] == "tidepool-yml"


def test_what_lies_above_the_repository_is_not_read(repository):
    write(repository.parent, "x", default="x")
    assert chosen(repository / "a") is None


def test_outside_of_a_repository_only_the_folder_itself_is_read(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "a").mkdir()
    write(tmp_path, "x", default="x")
    assert chosen(tmp_path / "a") is None
    write(tmp_path / "a", "x", default="x")
    assert chosen(tmp_path / "a")[0] == "x"


def test_the_option_wins_over_our_variable_and_that_over_theirs(repository):
    write(repository, "a", "b", "c", "d", default="d")
    assert chosen(repository)[0] == "d"
    assert chosen(repository, DSTACK_PROFILE="c")[0] == "c"
    assert chosen(repository, DSTACK_PROFILE="c", TIDEPOOL_PROFILE="b")[0] == "b"
    assert chosen(repository, "a", DSTACK_PROFILE="c", TIDEPOOL_PROFILE="b")[0] == "a"


def test_an_unknown_profile_is_refused_with_what_there_is(repository):
    write(repository, "train", "cheap", default="cheap")
    with pytest.raises(InputError) as caught:
        chosen(repository, TIDEPOOL_PROFILE="trian")
    assert caught.value.detail == (
        "no profile is named 'trian' (TIDEPOOL_PROFILE); did you mean train?\n"
        "  .tidepool/profiles.yml: train, cheap (default)\n"
        "  looked for .tidepool/profiles.yml and .dstack/profiles.yml in ., ~"
    )


def test_two_defaults_in_one_file_are_refused_by_name(repository):
    (repository / ".tidepool").mkdir()
    text = "profiles:\n- {name: a, default: true}\n- {name: b}\n- {name: c, default: true}\n"
    (repository / ".tidepool" / "profiles.yml").write_text(text)
    with pytest.raises(FileError, match="only one profile can be the default, and these say so: a, c"):
        chosen(repository)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a", ":1: the file: a list is not a map with the key profiles"),
        ("profile: []", ":1: 'profile' is no key here; did you mean profiles?"),
        ("profiles: {a: 1}", ":1: profiles: a map is not a list, each entry a map with a name"),
        ("profiles:\n- text", ":2: profiles: 'text' is not a map with a name"),
        ("profiles:\n- pool: x", ":2: a profile needs a name"),
        ("profiles:\n- name: [a]", ":2: name: a list is not a text"),
        ("profiles:\n- name: a\n- name: a", ":3: 'a' stands twice: here and in line 2"),
        ("profiles:\n- name: a\n  default: maybe", ":3: default: 'maybe' is not true or false"),
        ("profiles:\n- name: a\n  default: true\n  max_prise: 2", ":4: 'max_prise' is no key here; did you mean max_"),
        ("profiles:\n- name: a\n  default: true\n  spot: true", ":4: 'spot' is no key here; did you mean spot_policy?"),
        ("profiles:\n- name: a\n  default: true\n  gpu: 80GB", ":4: gpu stands under resources"),
        ("profiles:\n- name: a\n  default: true\n  commands: [x]", ":4: 'commands' is no key here"),
    ],
)  # fmt: skip
def test_a_file_that_says_nothing_sensible_is_refused_by_its_line(repository, text, told):
    (repository / ".tidepool").mkdir()
    (repository / ".tidepool" / "profiles.yml").write_text(text)
    with pytest.raises(FileError) as caught:
        chosen(repository)
    assert caught.value.detail.startswith(f".tidepool/profiles.yml{told}")


def test_an_empty_file_has_no_profiles(repository):
    (repository / ".tidepool").mkdir()
    for text in ("", "# nothing\n", "profiles:\n"):
        (repository / ".tidepool" / "profiles.yml").write_text(text)
        assert chosen(repository) is None
