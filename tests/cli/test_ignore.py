"""The rules of `.gitignore`: a table of the page's own sentences, and git itself as the judge of everything else."""

import random
import shutil
import subprocess

import pytest

from tidepool.ignore import is_ignored, rules, walk


@pytest.mark.parametrize(
    ("lines", "path", "ignored"),
    [
        ("*.log", "a.log", True),
        ("*.log", "deep/er/a.log", True),
        ("*.log", "a.logs", False),
        ("/a.log", "a.log", True),
        ("/a.log", "deep/a.log", False),
        ("doc/frotz", "doc/frotz", True),
        ("doc/frotz", "a/doc/frotz", False),
        ("frotz/", "frotz/", True),
        ("frotz/", "a/frotz/", True),
        ("frotz/", "frotz", False),
        ("foo/*", "foo/test.json", True),
        ("foo/*", "foo/bar/hello.c", False),
        ("**/foo", "foo", True),
        ("**/foo", "a/b/foo", True),
        ("**/foo/bar", "a/foo/bar", True),
        ("abc/**", "abc/x/y", True),
        ("abc/**", "abc/", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "a/xb", False),
        ("a**b", "axxb", True),
        ("a**b", "a/b", False),
        ("?.txt", "a.txt", True),
        ("?.txt", "ab.txt", False),
        ("[a-c].txt", "b.txt", True),
        ("[!a-c].txt", "b.txt", False),
        ("[^a-c].txt", "z.txt", True),
        ("[]].txt", "].txt", True),
        ("[a-]x", "-x", True),
        ("[[:digit:]]x", "7x", True),
        ("[[:nope:]]x", "nx", False),
        ("a[", "a[", False),
        ("a[/]b", "a/b", False),
        ("# comment", "# comment", False),
        (r"\#file", "#file", True),
        (r"\!file", "!file", True),
        ("x   ", "x", True),
        ("x\\ ", "x ", True),
        ("x\\ ", "x", False),
        ("x\r", "x", True),
        ("\ufeffx", "x", True),
        ("*.log\n!keep.log", "keep.log", False),
        ("!keep.log\n*.log", "keep.log", True),
        (r"\*.txt", "*.txt", True),
        (r"\*.txt", "a.txt", False),
        ("a.b", "axb", False),
        ("", "x", False),
        ("/", "x", False),
        ("!", "x", False),
        ("*", "any/where", True),
        ("\\", "\\", False),
    ],
)
def test_patterns_read_as_documented(lines, path, ignored):
    assert is_ignored(path.rstrip("/"), rules(lines, ""), is_directory=path.endswith("/")) is ignored


def test_a_nested_file_speaks_of_its_own_folder_and_wins():
    known = rules("*.txt", "") + rules("!a.txt\n/b.log", "sub/")
    assert is_ignored("a.txt", known, is_directory=False)
    assert not is_ignored("sub/a.txt", known, is_directory=False)
    assert is_ignored("sub/b.log", known, is_directory=False)
    assert not is_ignored("sub/x/b.log", known, is_directory=False)


def build(top, files):
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)


def listed(top):
    return sorted(
        str(entry.path)[len(str(top)) + 1 :] for entry in walk(str(top)) if not entry.is_dir(follow_symlinks=False)
    )


def test_what_a_left_out_folder_holds_cannot_come_back(tmp_path):
    build(tmp_path, {".gitignore": "out/\n!out/keep\n", "out/keep": "", "in": ""})
    assert listed(tmp_path) == [".gitignore", "in"]


def test_history_and_our_own_folder_never_travel(tmp_path):
    files = {".git/config": "", ".tidepool/local.env": "", "sub/.git": "", ".gitignore": "!.git\n!.tidepool\n", "x": ""}
    build(tmp_path, files)
    assert listed(tmp_path) == [".gitignore", "x"]


def test_rules_above_the_folder_count_within_one_repository(tmp_path):
    build(
        tmp_path,
        {
            ".gitignore": "never-outside",
            "repo/.git/HEAD": "",
            "repo/.git/info/exclude": "*.secret\n",
            "repo/.gitignore": "*.log\n/sub/x\n",
            "repo/sub/.gitignore": "!b.log\n",
            "repo/sub/a.log": "",
            "repo/sub/b.log": "",
            "repo/sub/x": "",
            "repo/sub/k.secret": "",
            "repo/sub/never-outside": "",
        },
    )
    assert listed(tmp_path / "repo" / "sub") == [".gitignore", "b.log", "never-outside"]


NAMES = ("a", "b", "ab", "a.b", "c.log", "#d", "!e", "f g", "h[1]", "-", "é", "keep")
PIECES = (
    "*",
    "**",
    "?",
    "[ab]",
    "[!a]",
    "[a-c]",
    "[[:alpha:]]",
    "a",
    "b",
    ".",
    "log",
    "#d",
    "\\!e",
    "/",
    "/",
    "f g",
    "é",
    "\\*",
    "keep",
)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge here")
@pytest.mark.parametrize("seed", range(12))
def test_git_agrees(tmp_path, seed):
    """Random trees under random rules: what we ship is what `git ls-files` would add."""
    rng = random.Random(seed)

    def pattern() -> str:
        return (
            rng.choice(("", "", "!"))
            + "".join(rng.choices(PIECES, k=rng.randint(1, 5)))
            + rng.choice(("", "", "/", " "))
        )

    def path(depth: int) -> str:
        return "/".join(rng.choices(NAMES, k=depth))

    for _ in range(60):
        target = tmp_path / path(rng.randint(1, 4))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue
    folders = [tmp_path, *(one for one in tmp_path.rglob("*") if one.is_dir() and rng.random() < 0.3)]
    for folder in folders:
        (folder / ".gitignore").write_text("\n".join(pattern() for _ in range(rng.randint(1, 8))) + "\n")
    git = ["git", "-c", "core.excludesFile=/dev/null", "-c", "core.quotePath=false"]
    subprocess.run([*git, "init", "-q", str(tmp_path)], check=True, capture_output=True)
    command = [*git, "-C", str(tmp_path), "ls-files", "-z", "--others", "--exclude-standard"]
    judged = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    assert listed(tmp_path) == sorted(filter(None, judged))
