"""Run files: what they may say, what of it reaches the API, and what travels along."""

import io
import json
import os
import subprocess
import sys
import tarfile

import pytest

from tests.cli.builders import make_run
from tests.cli.conftest import CLI, finish, settings
from tidepool.errors import InputError
from tidepool.run_file import load


def run_file(tmp_path, text, **environ):
    (tmp_path / "f.yml").write_text(text)
    return load(str(tmp_path / "f.yml"), "f.yml", environ)


def submitted(stub):
    return stub.seen("POST", "/runs")[-1].body


def shipped(stub):
    """The archive of the last run: path -> content, of folders None."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(stub.stored[submitted(stub)["code"]]), mode="r:gz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            found[member.name] = file.read().decode() if file else None
    return found


def test_a_run_without_a_command_runs_the_file_of_the_folder(stub, cli, tmp_path):
    (tmp_path / ".tidepool.yml").write_text(
        "type: task\nname: train\ncommands:\n- pip install .\n- python train.py\nimage: python:3.13\nnodes: 1\n"
        "env: {EPOCHS: 010, KEY: , ON: yes}\nkill_after: 1m\nresources: {gpu: 80GB}\nmax_duration: 6h\nreuse: true\n"
    )
    ended = cli("run", "-d", "--no-code", environ={**settings(stub, tmp_path), "KEY": "mine"})
    assert (ended.code, ended.err) == (0, "")
    assert submitted(stub) == {
        "argv": ["sh", "-ec", "pip install .\npython train.py"],
        "name": "train",
        "image": "python:3.13",
        "env": {"EPOCHS": "010", "KEY": "mine", "ON": "yes"},
        "kill_after_s": 60,
        "requirements": {"gpu": "80GB"},
        "max_duration": "6h",
        "reuse": True,
    }


def test_a_command_on_the_command_line_leaves_the_folder_s_file_unread(stub, cli, tmp_path):
    (tmp_path / ".tidepool.yml").write_text("commands: [x]\nresources: {gpu: 80GB}\n")
    assert cli("run", "-d", "--no-code", "--", "true").code == 0
    assert submitted(stub) == {"argv": ["true"]}
    told = cli("run", "--explain", "--", "true").err
    assert told == "note: .tidepool.yml is not read, because the command line has a command; -f names it\n"


def test_of_a_named_file_all_but_the_command_holds(stub, cli, tmp_path):
    (tmp_path / "f.yml").write_text("commands: [x]\nresources: {gpu: 80GB}\nenv: [A=1, B=2]\nimage: a\nname: b\n")
    words = ("run", "-d", "--no-code", "-f", "f.yml", "-e", "B=3", "--image", "c", "-n", "d", "--", "true")
    assert cli(*words).code == 0
    assert submitted(stub) == {
        "argv": ["true"],
        "requirements": {"gpu": "80GB"},
        "env": {"A": "1", "B": "3"},
        "image": "c",
        "name": "d",
    }


@pytest.mark.parametrize("text", ["env: {KEY: }", "env: [KEY]"])
def test_a_variable_that_the_file_wants_passed_on_may_be_said_instead(stub, cli, tmp_path, text):
    (tmp_path / ".tidepool.yml").write_text(f"commands: [x]\n{text}\n")
    assert "'KEY' is to come from this environment" in cli("run", "-d", "--no-code").err
    assert cli("run", "-d", "--no-code", "-e", "KEY=v").code == 0
    assert submitted(stub)["env"] == {"KEY": "v"}
    assert "-e/--env: 'KEY' is to come from this environment" in cli("run", "-d", "--no-code", "-e", "KEY").err


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("commands: [pip install ., python train.py]", "pip install . ⏎ python train.py"),
        ("commands: [x]\nworking_dir: src", "(in src) x"),
        ("argv: [python, train.py]\nworking_dir: src", "(in src) python train.py"),
        ("command: python train.py", "python train.py"),
        (f"commands: [{'x' * 500}]", "x" * 200 + "…"),
    ],
)
def test_a_command_is_shown_as_what_runs(stub, cli, tmp_path, text, shown):
    (tmp_path / ".tidepool.yml").write_text(text)
    told = next(line for line in cli("run", "--explain").out.splitlines() if line.startswith("command "))
    assert shown.removeprefix("(in src) ") in told
    assert cli("run", "-d", "--no-code").code == 0
    stub.runs = [make_run(argv=submitted(stub)["argv"])]
    assert cli("ps").out.endswith(f"  {shown}\n")


def test_without_any_command_nothing_is_asked(stub, cli, tmp_path):
    assert "what is to be run? Put it after `--`" in cli("run").err
    (tmp_path / ".tidepool.yml").write_text("image: x\n")
    ended = cli("run")
    assert (ended.code, stub.requests) == (2, [])
    assert ".tidepool.yml has no commands. Put it after `--`" in ended.err
    (tmp_path / ".tidepool.yaml").write_text("image: x\n")
    assert "there are .tidepool.yml and .tidepool.yaml; keep one of them" in cli("run").err


def test_a_missing_file_is_named(cli):
    ended = cli("run", "-f", "nope.yml")
    assert (ended.code, ended.err) == (2, "error: cannot read nope.yml: No such file or directory\n")


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("commands: [a b, c]", ["sh", "-ec", "a b\nc"]),
        ("commands: |\n  a\n  b\n", ["sh", "-ec", "a\nb\n"]),
        ("command: a b", ["sh", "-ec", "a b"]),
        ("command: [a b, c]", ["a b", "c"]),
        ("argv: [sleep, 1.50]", ["sleep", "1.50"]),
    ],
)
def test_a_command_is_a_script_or_a_list_of_words(tmp_path, text, argv):
    assert run_file(tmp_path, text).argv == argv


def test_a_script_ends_at_its_first_failure_and_keeps_its_folder(tmp_path):
    argv = run_file(tmp_path, "commands: [cd /, pwd, 'A=1', 'echo $A', 'false', echo never]").argv
    ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "/\n1\n")


def test_working_dir_is_where_the_command_runs(stub, cli, tmp_path):
    (tmp_path / "f.yml").write_text("argv: [sh, -c, 'pwd; echo \"$1\"', x, a  b]\nworking_dir: -odd dir\n")
    assert cli("run", "-d", "--no-code", "-f", "f.yml").code == 0
    (tmp_path / "-odd dir").mkdir()
    argv = submitted(stub)["argv"]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.stdout == f"{tmp_path / '-odd dir'}\na  b\n"
    ended = subprocess.run(argv, cwd="/", capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a]", "f.yml:1: the file: a list is not a map with keys such as commands and resources"),
        ("type: service", "f.yml:1: type: 'service' is not task, the only type that there is"),
        ("a: 1\nnodes: 2", "f.yml:1: 'a' is no key here"),
        ("nodes: 0", "f.yml:1: nodes: '0' is not a whole number of at least 1"),
        ("nodes: one", "f.yml:1: nodes: 'one' is not a whole number of at least 1"),
        ("command: [a]\ncommands: [b]", "f.yml:2: command and commands exclude each other; keep one of them"),
        ("commands: []", "f.yml:1: commands: an empty list is not a list of at least one shell line"),
        ("commands: [a, [b]]", "f.yml:1: commands: a list is not a text"),
        ("commands: [true]", "f.yml:1: commands: 'true' is not a text; put it in quotes"),
        ("argv: a b", "f.yml:1: argv: 'a b' is not a list of at least one word"),
        ("comands: [a]", "f.yml:1: 'comands' is no key here; did you mean command"),
        ("env: a", "f.yml:1: env: 'a' is not a map, or a list with K=V or K"),
        ("env: [1=2]", "f.yml:1: env: '1' is not a variable's name: letters, digits and _, no digit first"),
        ("env: {A-B: 2}", "f.yml:1: env: 'A-B' is not a variable's name"),
        ("env: {A: [1]}", "f.yml:1: env.A: a list is not a text"),
        ("env:\n- A", "f.yml:2: env: 'A' is to come from this environment, and is not set in it"),
        ("env:\n  A:", "f.yml:2: env: 'A' is to come from this environment, and is not set in it"),
        ("image: []", "f.yml:1: image: an empty list is not a text"),
        ("kill_after: soon", "f.yml:1: kill_after: 'soon' is not a duration such as 30s"),
        ("working_dir: /etc", "f.yml:1: working_dir: '/etc' is not a folder within the code, such as src"),
        ("working_dir: a/../../b", "f.yml:1: working_dir: 'a/../../b' is not a folder within the code"),
        ("files: x", "f.yml:1: files: 'x' is not a list of paths, or of local:remote"),
        ("files: ['x:']", "f.yml:1: files: 'x:' is not a path, or local:remote"),
        ("files: ['x:../y']", "f.yml:1: files: 'x:../y' is not local:remote with a remote path within the code"),
        ("files: ['x:/y']", "f.yml:1: files: 'x:/y' is not local:remote with a remote path within the code"),
        ("files: ['x:~/y']", "f.yml:1: files: 'x:~/y' is not local:remote with a remote path within the code"),
    ],
)
def test_what_a_run_file_cannot_say_is_refused_with_line_and_key(tmp_path, text, told):
    with pytest.raises(InputError) as caught:
        run_file(tmp_path, text)
    assert caught.value.detail.startswith(told)


@pytest.fixture
def folders(tmp_path):
    """A folder with code, `data.bin` left out of it, and a model beside it."""
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    (work / "train.py").write_text("code")
    (work / ".gitignore").write_text("*.bin\n")
    (work / "data.bin").write_text("data")
    model = tmp_path / "model"
    (model / "deep" / ".git").mkdir(parents=True)
    (model / "deep" / "weights").write_text("weights")
    (model / "out").symlink_to("/etc/passwd")
    (model / "in").symlink_to("deep/weights")
    return work


def detach(start, folder, text, *words):
    (folder / "f.yml").write_text(text)
    return finish(start("run", "-d", "-f", "f.yml", *words, "--", "true", cwd=folder))


def test_files_add_what_gitignore_leaves_out_and_what_lies_outside(stub, start, folders):
    ended = detach(start, folders, "files: [data.bin, ../model, '../model/deep/weights:w/x.bin', '../model/in']\n")
    assert ended.code == 0, ended.err
    assert shipped(stub) == {
        ".gitignore": "*.bin\n", "data.bin": "data", "f.yml": (folders / "f.yml").read_text(), "in": "weights",
        "model": None, "model/deep": None, "model/deep/weights": "weights", "model/in": "weights", "sub": None,
        "train.py": "code", "w/x.bin": "weights",
    }  # fmt: skip
    assert "not shipped: model/out: a link that leads out of the folder" in ended.err


def test_without_code_only_the_files_travel(stub, start, folders):
    assert detach(start, folders, "files: ['data.bin:d']\n", "--no-code").code == 0
    assert shipped(stub) == {"d": "data"}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("nope", "f.yml: files: 'nope': No such file or directory"),
        ("train.py:.git/config", "f.yml: files: '.git/config' would lie in a folder that never travels"),
        ("data.bin:train.py/x", "f.yml: files: 'train.py/x' cannot lie below 'train.py', which is no folder"),
        ("/dev/null", "f.yml: files: '/dev/null' is neither a file nor a folder"),
    ],
)
def test_a_file_that_cannot_travel_is_refused(stub, start, folders, entry, told):
    ended = detach(start, folders, json.dumps({"files": [entry]}))
    assert ended.code == 2
    assert ended.err.startswith(f"error: {told}")
    assert stub.seen("POST", "/runs") == []


def test_yaml_is_loaded_only_where_a_file_is_read(stub, start, folders):
    program = (
        "import sys, tidepool.main; code = tidepool.main.main(sys.argv[1:]); sys.exit(code or 'yaml' in sys.modules)"
    )

    from tests.cli.conftest import settings

    def loads(*words):
        env = {"PYTHONPATH": str(CLI), **settings(stub, folders)}
        command = [sys.executable, "-c", program, *words]
        return finish(subprocess.Popen(command, env=env, cwd=folders, stdout=subprocess.DEVNULL)).code

    assert loads("offer") == 0
    assert loads("run", "-d", "--no-code", "--", "true") == 0
    (folders / ".tidepool.yml").write_text("commands: [true]\n")
    assert loads("run", "-d", "--no-code", "--", "true") == 0
    (folders / ".tidepool.yml").write_text("commands: ['true']\n")
    assert loads("run", "-d", "--no-code") == 1
    os.mkdir(folders / ".tidepool")
    (folders / ".tidepool" / "profiles.yml").write_text("profiles:\n")
    assert loads("offer") == 1
