"""Code archives: fetched, checked, extracted inside, refused with a reason."""

import hashlib
import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from chalicelib.agent.tidepool_agent import JobError, unpack
from tests.agent.conftest import Machine
from tests.agent.stub_api import StubApi


def archive(*members: tuple[dict[str, Any], bytes]) -> bytes:
    """A tar.gz of members, each with attributes of its `TarInfo`."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for attributes, data in members:
            member = tarfile.TarInfo()
            for name, value in {"size": len(data), **attributes}.items():
                setattr(member, name, value)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def serve(api: StubApi, content: bytes) -> dict[str, str]:
    api.files["/code/1"] = content
    url = f"{api.origin}/code/1?X-Amz-Signature=a-secret-signature"
    return {"code_url": url, "code_sha256": hashlib.sha256(content).hexdigest()}


def test_a_job_runs_in_its_code(machine: Machine, api: StubApi) -> None:
    content = archive(({"name": "pkg", "type": tarfile.DIRTYPE}, b""), ({"name": "pkg/run.sh"}, b"echo from code; pwd"))
    machine.start()
    api.want("run-1", "sh", "pkg/run.sh", **serve(api, content))
    assert api.ended("run-1")["exit_code"] == 0
    assert api.log("run-1").decode().splitlines() == ["from code", str(machine.home / "jobs" / "run-1" / "code")]


def test_code_with_another_hash_is_refused(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "true", **{**serve(api, archive()), "code_sha256": "0" * 64})
    end = api.ended("run-1")
    assert (end["state"], end["exit_code"]) == ("failed", None)
    assert end["detail"].startswith("the code has SHA-256 ")


def test_code_that_cannot_be_had_fails_the_job_without_its_url(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "true", code_url=f"{api.origin}/nothing?X-Amz-Signature=a-secret", code_sha256="0" * 64)
    end = api.ended("run-1")
    assert (end["state"], end["detail"]) == ("failed", "the code could not be downloaded: HTTP 403")


def test_a_job_waits_out_some_seconds_in_which_its_code_cannot_be_had(machine: Machine, api: StubApi) -> None:
    """A control plane that is started again, or a network that blinks, is no reason for a run to fail."""
    api.lost_files = 5
    machine.start()
    api.want("run-1", "sh", "run.sh", **serve(api, archive(({"name": "run.sh"}, b"exit 7"))))
    assert api.ended("run-1")["exit_code"] == 7


def test_a_job_whose_code_is_waited_for_can_be_stopped(machine: Machine, api: StubApi) -> None:
    api.lost_files = 1000
    code = serve(api, archive())
    machine.start()
    api.want("run-1", "true", **code)
    api.until(lambda: api.lost_files < 995)
    api.want("run-1", "true", stop=True, **code)
    end = api.ended("run-1")
    assert (end["state"], end["detail"]) == ("failed", "stopped before it was started")
    assert api.lost_files > 985


def test_a_path_that_leads_out_fails_the_job(machine: Machine, api: StubApi) -> None:
    machine.start()
    api.want("run-1", "true", **serve(api, archive(({"name": "../evil"}, b"x"))))
    end = api.ended("run-1")
    assert (end["state"], end["detail"]) == ("failed", "the code has a path that leads out: ../evil")
    assert not list(machine.home.rglob("evil"))


def extract(folder: Path, content: bytes) -> Path:
    (folder / "a.tar.gz").write_bytes(content)
    (folder / "code").mkdir()
    unpack(str(folder / "a.tar.gz"), str(folder / "code"))
    return folder / "code"


SYMLINK, HARDLINK = tarfile.SYMTYPE, tarfile.LNKTYPE


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([({"name": "/tmp/evil"}, b"x")], "path that leads out"),
        ([({"name": "a/../../evil"}, b"x")], "path that leads out"),
        ([({"name": "link", "type": SYMLINK, "linkname": "/etc"}, b"")], "link that leads out"),
        ([({"name": "link", "type": SYMLINK, "linkname": "../.."}, b"")], "link that leads out"),
        (
            [({"name": "link", "type": SYMLINK, "linkname": ".."}, b""), ({"name": "link/evil"}, b"x")],
            "path through a link",
        ),
        (
            [({"name": "link", "type": SYMLINK, "linkname": "../evil"}, b""), ({"name": "link"}, b"x")],
            "path through a link",
        ),
        (
            [
                ({"name": "a/b/up", "type": SYMLINK, "linkname": "../.."}, b""),
                ({"name": "out", "type": SYMLINK, "linkname": "a/b/up/.."}, b""),
            ],
            "link that leads out",
        ),
        ([({"name": "hard", "type": HARDLINK, "linkname": "../a.tar.gz"}, b"")], "link that leads out"),
        ([({"name": "hard", "type": HARDLINK, "linkname": "/etc/passwd"}, b"")], "link that leads out"),
        ([({"name": "pipe", "type": tarfile.FIFOTYPE}, b"")], "special file"),
        ([({"name": "disk", "type": tarfile.BLKTYPE}, b"")], "special file"),
    ],
)
def test_what_leads_out_is_refused(tmp_path: Path, members: list[tuple[dict[str, Any], bytes]], reason: str) -> None:
    with pytest.raises(JobError, match=reason):
        extract(tmp_path, archive(*members))
    assert not (tmp_path / "evil").exists()


def test_links_that_stay_inside_and_modes_are_kept(tmp_path: Path) -> None:
    code = extract(
        tmp_path,
        archive(
            ({"name": "./bin/run", "mode": 0o4755}, b"hello"),
            ({"name": "run", "type": SYMLINK, "linkname": "bin/run"}, b""),
            ({"name": "same", "type": HARDLINK, "linkname": "bin/run", "mode": 0o4755}, b""),
        ),
    )
    assert (code / "run").read_bytes() == (code / "same").read_bytes() == b"hello"
    assert stat.S_IMODE((code / "bin" / "run").stat().st_mode) == 0o755
    assert (code / "bin" / "run").stat().st_uid == os.getuid()


@pytest.mark.parametrize("content", [b"", b"no archive", archive(({"name": "a"}, b"x" * 10_000))[:-200]])
def test_a_broken_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(JobError, match="could not be extracted"):
        extract(tmp_path, content)
