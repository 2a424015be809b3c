"""Files that are no YAML, cost too much, or cannot be read."""

import os
import time

import pytest

from tidepool.errors import InputError
from tidepool.yaml_file import MAX_BYTES, read


def said(tmp_path, content):
    (tmp_path / "f.yml").write_bytes(content.encode() if isinstance(content, str) else content)
    return read(str(tmp_path / "f.yml"), "f.yml")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: [1\nb: 2\n", "f.yml:2: this is no YAML:"),
        ("a: 1\n b: 2\n", "f.yml:2: this is no YAML:"),
        ("a: 1\n---\na: 2\n", "f.yml:2: this is no YAML:"),
        ("a: *b\n", "f.yml:1: this is no YAML:"),
        ("a: 1\nb: 2\na: 3\n", "f.yml:3: 'a' stands twice: here and in line 1"),
        ("a: !!python/object/apply:os.system ['true']\n", "f.yml:1: the tag"),
        ("a: !!binary aGk=\n", "f.yml:1: the tag"),
        ("? [a, b]\n: 1\n", "f.yml:1: a key is a word, not a list or a map"),
        ("a: &a [*a]\n", "f.yml:1: nested deeper than 20 levels"),
        ("[" * 50 + "]" * 50, "f.yml:1: nested deeper than 20 levels"),
        ("[" * 100_000, "f.yml:1: "),
        (BOMB, "f.yml:"),
        ("<<: 1\n", "f.yml:1: << takes a map or a list of maps"),
        (b"a: 1\nb: \xff\n", "f.yml:2: this is not UTF-8"),
        ("a: 1\nb: \x01\n", "f.yml:2: a control character, which YAML does not allow"),
        ("#" * (MAX_BYTES + 1), "f.yml is larger than 256 KB"),
    ],
    ids=range(16),
)
def test_a_file_that_cannot_be_taken_is_refused_quickly_by_its_line(tmp_path, content, told):
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        said(tmp_path, content)
    assert caught.value.detail.startswith(told)
    assert time.process_time() - began < 5


def test_many_uses_of_an_alias_count_each(tmp_path):
    with pytest.raises(InputError, match="more than 10000 values, aliases counted where they are used"):
        said(tmp_path, BOMB)


def test_a_merge_brings_in_what_the_map_does_not_say_itself(tmp_path):
    content = said(tmp_path, "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: {b: 4, <<: [{b: 5, c: 6}, *x]}\n")
    texts = {key: {name: value.text for name, value in entry.entries.items()} for key, entry in content.entries.items()}
    assert texts["y"] == {"a": "1", "b": "3"}
    assert texts["z"] == {"a": "1", "b": "4", "c": "6"}


def test_scalars_keep_the_text_that_was_written(tmp_path):
    entries = said(tmp_path, "a: 24:2\nb: 010\nc: off\nd: 1.10\ne: 'x'\nf:\ng: 2024-01-01\n").entries
    assert [(one.kind, one.text) for one in entries.values()] == [
        ("number", "24:2"), ("number", "010"), ("bool", "off"), ("number", "1.10"), ("text", "x"), ("null", ""),
        ("text", "2024-01-01"),
    ]  # fmt: skip
    assert [one.line for one in entries.values()] == [1, 2, 3, 4, 5, 6, 7]


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read x\.yml: No such file or directory"):
        read(str(tmp_path / "x.yml"), "x.yml")
    with pytest.raises(InputError, match="cannot read here: it is a folder"):
        read(str(tmp_path), "here")
    (tmp_path / "f.yml").write_text("a: 1")
    (tmp_path / "f.yml").chmod(0)
    if os.geteuid() != 0:
        with pytest.raises(InputError, match=r"cannot read f.yml: Permission denied"):
            read(str(tmp_path / "f.yml"), "f.yml")
