"""Which settings win, and that a token only goes where it belongs."""

import json
import os
import stat

import pytest

from tidepool.control_plane import config_path, load, local_cloud, read_config, read_env_file, write_config
from tidepool.errors import InputError

LOCAL = "TIDEPOOL_URL=http://local\nTIDEPOOL_TOKEN=local-token\nTIDEPOOL_PROJECT=tide\n"


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path / "home")}


@pytest.fixture
def folder(tmp_path):
    inner = tmp_path / "work" / "deep" / "er"
    inner.mkdir(parents=True)
    return inner


def local_env(folder, text=LOCAL):
    (folder / ".tidepool").mkdir()
    (folder / ".tidepool" / "local.env").write_text(text)


def found(environ, folder):
    found = load(environ, str(folder))
    return found.url, found.token, found.project


def test_the_environment_wins_over_everything(environ, folder):
    write_config(environ, {"url": "http://stored", "token": "stored-token", "project": "p"})
    local_env(folder)
    environ |= {"TIDEPOOL_URL": "http://env/", "TIDEPOOL_TOKEN": "env-token", "TIDEPOOL_PROJECT": "env-project"}
    assert found(environ, folder) == ("http://env", "env-token", "env-project")


def test_the_configuration_wins_over_the_folder(environ, folder):
    write_config(environ, {"url": "http://stored", "token": "stored-token", "project": "p"})
    local_env(folder)
    assert found(environ, folder) == ("http://stored", "stored-token", "p")


def test_a_parent_folder_is_used_when_nothing_else_is_set(environ, folder):
    local_env(folder.parent.parent)
    assert found(environ, folder) == ("http://local", "local-token", "tide")


def test_the_project_alone_can_be_set_over_the_folder(environ, folder):
    local_env(folder)
    environ["TIDEPOOL_PROJECT"] = "other"
    assert found(environ, folder) == ("http://local", "local-token", "other")


def test_a_stored_token_is_not_sent_to_another_url(environ, folder):
    write_config(environ, {"url": "http://stored", "token": "stored-token", "project": "p"})
    environ["TIDEPOOL_URL"] = "http://elsewhere"
    assert found(environ, folder) == ("http://elsewhere", "", "main")


def test_a_token_of_the_environment_is_not_sent_to_the_folder_s_url(environ, folder):
    local_env(folder)
    environ["TIDEPOOL_TOKEN"] = "env-token"
    with pytest.raises(InputError, match="no control plane"):
        load(environ, str(folder))


def test_a_folder_without_token_does_not_get_the_stored_one(environ, folder):
    write_config(environ, {"url": "http://stored", "token": "stored-token"})
    local_env(folder, "TIDEPOOL_URL=http://hostile\n")
    assert found(environ, folder) == ("http://stored", "stored-token", "main")


def test_the_configuration_is_readable_by_its_owner_only(environ):
    path = write_config(environ, {"url": "u", "token": "t", "project": "p"})
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert read_config(environ) == {"url": "u", "token": "t", "project": "p"}
    assert os.listdir(os.path.dirname(path)) == ["config.json"]


def test_xdg_names_the_place(environ, tmp_path):
    assert config_path({**environ, "XDG_CONFIG_HOME": str(tmp_path)}) == str(tmp_path / "tidepool" / "config.json")


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"url": 1})])
def test_a_broken_configuration_is_named(environ, text):
    path = write_config(environ, {})
    with open(path, "w") as file:
        file.write(text)
    with pytest.raises(InputError, match=r"config\.json"):
        read_config(environ)


def test_an_env_file_may_be_written_for_a_shell(tmp_path):
    path = tmp_path / "x.env"
    path.write_text("# a comment = no setting\nexport A=1\nB='two'\nC=\"a=b\"\nnothing\n")
    assert read_env_file(str(path)) == {"A": "1", "B": "two", "C": "a=b"}


def test_the_local_cloud_is_found_beside_the_control_plane(environ, folder):
    with pytest.raises(InputError, match="no local cloud"):
        local_cloud(environ, str(folder))
    local_env(folder, "TIDEPOOL_LOCAL_CLOUD_URL=http://cloud/\nTIDEPOOL_LOCAL_CLOUD_KEY=k\n")
    assert local_cloud(environ, str(folder)) == ("http://cloud", "k")
    assert local_cloud({"TIDEPOOL_LOCAL_CLOUD_URL": "http://env"}, str(folder)) == ("http://env", "")
