"""The folder as an archive: same folder, same bytes."""

import gzip
import hashlib
import io
import os
import socket
import tarfile

import pytest

from tidepool import archive, archive_cache
from tidepool.archive import TooLargeError, pack, survey
from tidepool.errors import InputError


def build(top):
    (top / "b").mkdir()
    (top / "b" / "z.py").write_text("print(1)\n")
    (top / "a.sh").write_text("#!/bin/sh\n")
    (top / "a.sh").chmod(0o700)
    (top / "link").symlink_to("b/z.py")
    (top / "empty").mkdir()
    return top


def packed(top, **options):
    return pack(survey(str(top))[0], **options)


def test_the_archive_holds_the_folder_sorted_with_everything_fixed_but_the_content(tmp_path):
    made = packed(build(tmp_path))
    with tarfile.open(fileobj=made.file, mode="r:gz") as tar:
        members = tar.getmembers()
        assert tar.extractfile("b/z.py").read() == b"print(1)\n"
    assert [(one.name, oct(one.mode), one.linkname) for one in members] == [
        ("a.sh", "0o755", ""),
        ("b", "0o755", ""),
        ("b/z.py", "0o644", ""),
        ("empty", "0o755", ""),
        ("link", "0o777", "b/z.py"),
    ]
    assert {(one.uid, one.gid, one.uname, one.mtime) for one in members} == {(0, 0, "", archive.FIXED_TIME)}


def test_size_and_hash_are_those_of_the_bytes(tmp_path):
    made = packed(build(tmp_path))
    content = made.file.read()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (made.size, made.sha256)
    assert gzip.decompress(content)


def test_times_owners_and_the_order_of_creation_change_nothing(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    (second / "b").mkdir()
    (second / "empty").mkdir()
    build_order = [("b/z.py", "print(1)\n"), ("a.sh", "#!/bin/sh\n")]
    for name, text in build_order:
        (second / name).write_text(text)
    (second / "a.sh").chmod(0o755)
    (second / "link").symlink_to("b/z.py")
    os.utime(second / "a.sh", (1, 1))
    assert packed(build(first)).sha256 == packed(second).sha256


@pytest.mark.parametrize("change", ["content", "name", "mode"])
def test_a_change_that_matters_changes_the_hash(tmp_path, change):
    before = packed(build(tmp_path)).sha256
    if change == "content":
        (tmp_path / "b" / "z.py").write_text("print(2)\n")
    elif change == "name":
        (tmp_path / "b" / "z.py").rename(tmp_path / "b" / "y.py")
    else:
        (tmp_path / "a.sh").chmod(0o600)
    assert packed(tmp_path).sha256 != before


def test_links_that_lead_out_and_odd_things_are_left_out_and_said(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "up").symlink_to("../x")
    (inside / "absolute").symlink_to("/etc/hostname")
    (inside / "self").symlink_to(".")
    (inside / "deep").mkdir()
    (inside / "deep" / "ok").symlink_to("../self")
    os.mkfifo(inside / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(inside / "sock"))
        entries, left_out = survey(str(inside))
    assert [entry.path for entry in entries] == ["deep", "deep/ok", "self"]
    assert left_out == [
        "absolute: a link that leads out of the folder",
        "pipe: neither file, folder nor link",
        "sock: neither file, folder nor link",
        "up: a link that leads out of the folder",
    ]


def test_names_of_any_bytes_survive(tmp_path):
    name = b"caf\xe9-\xff.txt"
    with open(os.path.join(os.fsencode(tmp_path), name), "w") as file:
        file.write("x")
    with tarfile.open(fileobj=packed(tmp_path).file, mode="r:gz") as tar:
        assert [os.fsencode(one) for one in tar.getnames()] == [name]


def test_a_folder_that_is_too_large_names_its_biggest_entries(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.bin").write_bytes(os.urandom(300_000))
    (tmp_path / "data" / "y.bin").write_bytes(os.urandom(1_800_000))
    (tmp_path / "model.bin").write_bytes(os.urandom(700_000))
    (tmp_path / "small").write_text("x")
    with pytest.raises(TooLargeError) as caught:
        packed(tmp_path, max_size=1 << 20)
    lines = [line.split() for line in caught.value.detail.splitlines()]
    assert lines[1:3] == [["2MB", "data/"], ["0.7MB", "model.bin"]]
    assert "1MB compressed" in caught.value.detail
    assert ".gitignore" in caught.value.detail


def test_a_larger_archive_is_kept_in_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "IN_MEMORY", 1000)
    content = os.urandom(50_000)
    (tmp_path / "x").write_bytes(content)
    made = packed(tmp_path)
    assert not isinstance(made.file, io.BytesIO)
    with made.file, tarfile.open(fileobj=made.file, mode="r:gz") as tar:
        assert tar.extractfile("x").read() == content


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path):
    (tmp_path / "log").write_text("x" * 5000)
    entries, _ = survey(str(tmp_path))
    (tmp_path / "log").write_text("x")
    with pytest.raises(InputError, match="log became shorter"):
        pack(entries)


def test_an_unchanged_folder_is_recognised_and_a_changed_one_is_not(tmp_path):
    top = tmp_path / "top"
    top.mkdir()
    environ = {"HOME": str(tmp_path)}
    later = os.stat(build(top) / "a.sh").st_mtime + 10

    def key():
        return archive_cache.fingerprint(survey(str(top))[0], later)

    first = key()
    assert archive_cache.look_up(environ, first) is None
    archive_cache.remember(environ, first, "ab" * 32, 123)
    assert archive_cache.look_up(environ, key()) == ("ab" * 32, 123)
    (top / "b" / "z.py").write_text("print(7)\n")
    os.utime(top / "b" / "z.py", ns=(0, 0))
    assert archive_cache.look_up(environ, key()) is None


def test_a_folder_that_was_touched_just_now_is_not_remembered(tmp_path):
    (tmp_path / "x").write_text("1")
    now = os.stat(tmp_path / "x").st_mtime + 1
    assert archive_cache.fingerprint(survey(str(tmp_path))[0], now) == ""
    archive_cache.remember({"HOME": str(tmp_path)}, "", "ab" * 32, 1)
    assert archive_cache.look_up({"HOME": str(tmp_path)}, "") is None


def test_a_broken_or_forbidden_cache_only_costs_time(tmp_path):
    environ = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    (tmp_path / "file").write_text("not a folder")
    archive_cache.remember(environ, "k", "ab" * 32, 1)
    assert archive_cache.look_up(environ, "k") is None
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    archive_cache.remember(environ, "k", "ab" * 32, 1)
    (tmp_path / "tidepool" / "archives.json").write_text('{"k": ["x"]}')
    assert archive_cache.look_up(environ, "k") is None


def test_the_cache_forgets_the_oldest(tmp_path):
    environ = {"HOME": str(tmp_path)}
    for number in range(archive_cache.KEPT + 5):
        archive_cache.remember(environ, str(number), "ab" * 32, number)
    assert archive_cache.look_up(environ, "4") is None
    assert archive_cache.look_up(environ, "5") == ("ab" * 32, 5)
