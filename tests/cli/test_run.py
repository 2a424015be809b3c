"""`run` and `logs` as processes of their own: streams, exit codes, signals, broken connections."""

import contextlib
import json
import os
import pty
import signal
import tarfile
import time
from io import BytesIO

import pytest

from tests.cli.builders import make_attempt, make_instance, make_offer, make_run
from tests.cli.conftest import finish
from tests.cli.stub import Problem


def wait_for(condition, within_s=60.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "work"
    top.mkdir()
    (top / "train.py").write_text("print(1)\n")
    (top / ".gitignore").write_text("*.bin\n")
    (top / "data.bin").write_text("x")
    (top / ".tidepool").mkdir()
    (top / ".tidepool" / "local.env").write_text("TIDEPOOL_TOKEN=secret\n")
    return top


DONE = {"state": "done", "reason": "exited", "exit_code": 0}


def test_a_run_ships_the_folder_streams_raw_bytes_and_ends_with_0(stub, start, folder):
    stub.log_steps = [{"state": "running", "log": b"one\n\xff\x00"}, {}, {"log": b"two"}, DONE]
    process = start("run", "--gpu", "80GB", "-e", "A=b=c", "--", "python", "train.py", "--json", "--", "x", cwd=folder)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"one\n\xff\x00two")
    assert err == b"run brave-otter-42 on calm-heron-10\n"
    request = stub.seen("POST", "/runs")[0].body
    assert request.pop("code") in stub.stored
    assert request == {
        "requirements": {"gpu": "80GB"},
        "argv": ["python", "train.py", "--json", "--", "x"],
        "env": {"A": "b=c"},
    }
    with tarfile.open(fileobj=BytesIO(next(iter(stub.stored.values()))), mode="r:gz") as tar:
        assert tar.getnames() == [".gitignore", "train.py"]
    assert stub.seen("PUT", "")[0].headers["x-amz-checksum-sha256"] == "abc"
    assert "authorization" not in stub.seen("PUT", "")[0].headers


def test_an_unchanged_folder_travels_once(stub, start, folder):
    stub.log_steps = [DONE]
    assert finish(start("run", "--", "true", cwd=folder)).code == 0
    stub.log_steps = [DONE]
    assert finish(start("run", "--", "true", cwd=folder)).code == 0
    assert len(stub.seen("PUT", "")) == 1
    assert len({request.body["code"] for request in stub.seen("POST", "/runs")}) == 1


def test_a_lost_upload_is_repeated_from_its_start(stub, start, folder):
    stub.faults = ["", "lost-answer"]
    stub.log_steps = [DONE]
    assert finish(start("run", "--", "true", cwd=folder)).code == 0
    assert len({request.raw for request in stub.seen("PUT", "")}) == 1
    assert len(stub.seen("PUT", "")) == 2


def test_storage_that_refuses_is_a_clear_failure(stub, start, folder):
    stub.on_request = lambda request: request.method == "PUT" and stub.faults.insert(0, "403")
    ended = finish(start("run", "--", "true", cwd=folder))
    assert (ended.code, ended.out) == (3, "")
    assert "storing the code failed: storage answered 403" in ended.err


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"state": "failed", "reason": "exited-non-zero", "exit_code": 3}, 3),
        ({"state": "failed", "reason": "exited-non-zero", "exit_code": 255}, 255),
        ({"state": "failed", "reason": "exited-non-zero", "exit_code": -9}, 137),
        ({"state": "failed", "reason": "provisioning-failed"}, 7),
        ({"state": "failed", "reason": "machine-lost", "started_at": "2026-01-01T00:00:00Z"}, 8),
        ({"state": "failed", "reason": "start-failed"}, 125),
        ({"state": "stopped", "reason": "user-stopped"}, 130),
        ({"state": "stopped", "reason": "user-stopped", "exit_code": 0}, 130),
        ({"state": "stopped", "reason": "user-stopped", "exit_code": 143}, 143),
        ({"state": "stopped", "reason": "max-duration", "exit_code": 0}, 130),
        ({"state": "failed", "reason": "interrupted", "exit_code": 0}, 8),
        ({"state": "failed", "reason": "interrupted", "exit_code": 143}, 143),
    ],
)
def test_the_exit_code_is_the_job_s_own_or_says_why_there_is_none(stub, start, end, code):
    stub.log_steps = [{"log": b"x"}, end]
    ended = finish(start("run", "--no-code", "--", "false"))
    assert (ended.code, ended.out) == (code, "x")
    assert f"run brave-otter-42 {end['state']} (" in ended.err


def test_a_detached_run_prints_its_name_and_nothing_else(stub, start):
    ended = finish(start("run", "-d", "--no-code", "--name", "mine", "--", "sleep", "9"))
    assert (ended.code, ended.out, ended.err) == (0, "mine\n", "")
    assert "code" not in stub.seen("POST", "/runs")[0].body


def test_what_looks_like_a_slip_is_said_beside_the_run(stub, start):
    stub.run_warnings = ["gpu: 80 is a count"]
    ended = finish(start("run", "-d", "--no-code", "--name", "mine", "--gpu", "80", "--", "true"))
    assert (ended.code, ended.out, ended.err) == (0, "mine\n", "note: gpu: 80 is a count\n")
    told = finish(start("run", "-d", "--no-code", "--name", "other", "--json", "--", "true"))
    assert (json.loads(told.out)["warnings"], told.err) == (stub.run_warnings, "")


def test_run_options_combine(stub, start):
    words = (
        "run -d --no-code --pool default-pool --instance calm-heron-10 --reuse --idle-duration 10s --image ubuntu "
        "--kill-after 1m --retry --spot --max-price 3 -- true"
    )
    assert finish(start(*words.split())).code == 0
    assert stub.seen("POST", "/runs")[0].body == {
        "argv": ["true"],
        "pool": "default-pool",
        "instance": "calm-heron-10",
        "image": "ubuntu",
        "reuse": True,
        "kill_after_s": 60.0,
        "idle_duration": "10s",
        "retry": True,
        "spot_policy": "spot",
        "max_price": 3.0,
    }


def test_reuse_with_none_free_says_why_of_each_and_ends_with_6(stub, start):
    reasons = {"calm-heron-10": "is busy", "b": "memory 16GB is not 32GB.."}
    stub.refusals[("POST", "runs")] = Problem(409, "no-match", "no idle instance of pool 'x' matches", reasons=reasons)
    ended = finish(start("run", "--reuse", "--no-code", "--", "true"))
    assert (ended.code, ended.out) == (6, "")
    assert (
        ended.err
        == "error: no idle instance of pool 'x' matches\n  calm-heron-10: is busy\n  b: memory 16GB is not 32GB..\n"
    )


def test_provisioning_is_shown_with_its_attempts(stub, start):
    refused = make_attempt(state="refused", kind="no_capacity", detail="sold out")
    waiting = {
        "state": "provisioning",
        "instance": {"instance_id": "i", "name": "new-one"},
        "attempts": [refused, make_attempt(number=2)],
    }
    stub.log_steps = [waiting, {"state": "running", "log": b"hi\n"}, DONE]
    ended = finish(start("run", "--no-code", "--", "true"))
    assert (ended.code, ended.out) == (0, "hi\n")
    assert "attempt 1: local shore-1 tide.a100 at $3.67 (simulated)/h: no_capacity - sold out\n" in ended.err
    assert "provisioning one: local shore-1 tide.a100 at $3.67 (simulated)/h\n" in ended.err
    assert "run brave-otter-42: launched, waiting for its agent\n" in ended.err


def test_what_was_bought_is_said_even_when_it_came_too_quickly_to_be_seen(stub, start):
    spot = make_offer(spot=True, backend="aws", price_source="")
    stub.instances = [make_instance(name="new-one", attempts=[make_attempt(offer=spot)])]
    placed = {"instance_id": "i-new-one", "name": "new-one"}
    stub.log_steps = [
        {"state": "provisioning", "instance": placed},
        {"state": "running", "log": b"hi\n"},
        DONE,
    ]
    ended = finish(start("run", "--no-code", "--", "true"))
    assert (ended.code, ended.out) == (0, "hi\n")
    assert ended.err.count("provisioning one: aws shore-1 tide.a100 at $3.67/h, spot\n") == 1


def test_a_run_that_never_had_a_machine_tells_each_attempt_once(stub, start):
    refused = make_attempt(state="refused", kind="no_capacity", detail="sold out")
    stub.log_steps = [
        {"state": "provisioning", "attempts": [refused]},
        {"state": "failed", "reason": "provisioning-failed"},
    ]
    ended = finish(start("run", "--no-code", "--retry", "--", "true"))
    assert (ended.code, ended.err.count("sold out")) == (7, 1)
    assert ended.err.endswith("  `--retry` waits for capacity, and `--retry-duration` says for how long\n")


def test_a_run_that_could_not_start_ends_with_125_and_its_detail(stub, start):
    stub.log_steps = [{"state": "failed", "reason": "start-failed", "detail": "no such image: nope"}]
    told = "run brave-otter-42 failed (start-failed): no such image: nope\n"
    ended = finish(start("run", "--no-code", "--image", "nope", "--", "true"))
    assert ended.code == 125
    assert told in ended.err
    ended = finish(start("logs", "-f", "brave-otter-42"))
    assert (ended.code, ended.err) == (125, told)


def test_json_of_a_run_writes_nothing_but_the_job_s_output_beside_it(stub, start):
    refused = make_attempt(state="refused", kind="no_capacity", detail="sold out")
    stub.log_steps = [
        {"state": "provisioning", "attempts": [refused, make_attempt(number=2)]},
        {"state": "failed", "reason": "provisioning-failed"},
    ]
    ended = finish(start("run", "--json", "--no-code", "--", "true"))
    assert (ended.code, ended.err) == (7, "")
    assert json.loads(ended.out)["reason"] == "provisioning-failed"


def test_json_of_a_run_is_the_run_and_its_output_goes_to_stderr(stub, start):
    stub.log_steps = [{"log": b"words\n"}, {**DONE, "exit_code": 0}]
    ended = finish(start("run", "--json", "--no-code", "--", "true"))
    assert json.loads(ended.out)["state"] == "done"
    assert "words\n" in ended.err


def test_following_outlasts_a_lost_connection_and_repeats_nothing(stub, start):
    def cut(request):
        if request.path.endswith("/logs") and len(stub.seen("GET", "/logs")) == 2:
            stub.faults = ["drop", "lost-answer", "503", "502", "drop", "cut"] * 2

    stub.on_request = cut
    stub.log_steps = [{"log": b"one\n"}, {"log": b"two\n"}, {"log": b"three\n"}, DONE]
    ended = finish(start("run", "--no-code", "--", "true"))
    assert (ended.code, ended.out) == (0, "one\ntwo\nthree\n")
    assert "trying again\n" in ended.err
    assert "the control plane is back\n" in ended.err
    assert "Traceback" not in ended.err


def test_an_interrupt_without_a_terminal_stops_the_run_and_ends_with_130(stub, start):
    stub.log_steps = [{"state": "running", "log": b"on\n"}]
    process = start("run", "--no-code", "--", "sleep", "99", start_new_session=True)
    wait_for(lambda: len(stub.seen("GET", "/logs")) > 2)
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert (ended.code, ended.out) == (130, "on\n")
    assert stub.seen("POST", "/stop")[0].body == {"force": False}
    assert "Traceback" not in ended.err


def at_a_terminal(start, *words):
    """Start a command whose stdin and stderr are a terminal; answer it and the other end."""
    ours, theirs = pty.openpty()
    process = start(*words, stdin=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    return process, ours


def read_until(end, words, within_s=60.0):
    os.set_blocking(end, False)
    seen = b""

    def came():
        nonlocal seen
        with contextlib.suppress(OSError):
            seen += os.read(end, 65536)
        return words in seen

    wait_for(came, within_s)
    return seen


@pytest.mark.parametrize(
    ("answer", "code", "stops"), [(b"d\n", 130, 0), (b"s\n", 130, 1), (b"what\ns\n", 130, 1), (b"c\n", 0, 0)]
)
def test_an_interrupt_at_a_terminal_is_a_question(stub, start, answer, code, stops):
    stub.log_steps = [{"state": "running", "log": b"on\n"}]
    process, end = at_a_terminal(start, "run", "--no-code", "--", "sleep", "99")
    try:
        wait_for(lambda: len(stub.seen("GET", "/logs")) > 2)
        process.send_signal(signal.SIGINT)
        read_until(end, b"[s]top it, [d]etach")
        if answer == b"c\n":
            stub.log_steps.append({"log": b"and on\n"})
            stub.log_steps.append(DONE)
        os.write(end, answer)
        out, _ = process.communicate(timeout=60)
    finally:
        os.close(end)
    assert (process.returncode, len(stub.seen("POST", "/stop"))) == (code, stops)
    assert out == (b"on\nand on\n" if answer == b"c\n" else b"on\n")


def test_a_second_interrupt_at_the_question_stops_the_run(stub, start):
    stub.log_steps = [{"state": "running"}]
    process, end = at_a_terminal(start, "run", "--no-code", "--", "sleep", "99")
    try:
        wait_for(lambda: len(stub.seen("GET", "/logs")) > 2)
        process.send_signal(signal.SIGINT)
        read_until(end, b"[d]etach")
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    finally:
        os.close(end)
    assert (process.returncode, len(stub.seen("POST", "/stop"))) == (130, 1)


@pytest.mark.parametrize("size", [10, 100_000])
def test_output_that_nobody_reads_any_more_is_quiet_and_the_run_goes_on(stub, start, size):
    stub.log_steps = [{"state": "running", "log": b"x" * size}, *[{"log": b"y" * size}] * 50, DONE]
    reader, writer = os.pipe()
    process = start("run", "--no-code", "--", "yes", stdout=writer)
    os.close(writer)
    os.read(reader, 10)
    os.close(reader)
    ended = finish(process)
    assert ended.code == 130
    assert "nobody reads the output any more; run brave-otter-42 goes on" in ended.err
    assert "Traceback" not in ended.err
    assert stub.seen("POST", "/stop") == []


def test_a_listing_that_nobody_reads_to_the_end_is_quiet(stub, start):
    stub.instances = [make_instance(name=f"i{n}") for n in range(3000)]
    reader, writer = os.pipe()
    process = start("pool", "ps", stdout=writer)
    os.close(writer)
    os.close(reader)
    assert (finish(process).err, process.returncode) == ("", 0)


def test_logs_show_what_is_there_and_follow_when_asked(stub, start):
    stub.runs = [make_run()]
    stub.log_steps = [{"log": b"a\n"}]
    ended = finish(start("logs", "brave-otter-42"))
    assert (ended.code, ended.out) == (0, "a\n")
    stub.log_steps = [{}, {"log": b"b\n"}, {"state": "failed", "reason": "exited-non-zero", "exit_code": 4}]
    ended = finish(start("logs", "-f", "brave-otter-42"))
    assert (ended.code, ended.out, ended.err) == (4, "a\nb\n", "run brave-otter-42 failed (exit code 4)\n")
    lines = [json.loads(line) for line in finish(start("logs", "--json", "brave-otter-42")).out.splitlines()]
    assert [line.get("data", "run") for line in lines] == ["YQpiCg==", "run"]
    stub.runs = [make_run(nodes=2, state="done")]
    lines = [json.loads(line) for line in finish(start("logs", "--json", "brave-otter-42")).out.splitlines()]
    assert [line.get("node", "run") for line in lines] == [0, 1, "run"]


def test_an_interrupt_of_logs_leaves_the_run_alone(stub, start):
    stub.runs = [make_run()]
    process = start("logs", "-f", "brave-otter-42", start_new_session=True)
    wait_for(lambda: len(stub.seen("GET", "/logs")) > 2)
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert (ended.code, stub.seen("POST", "/stop")) == (130, [])


def test_an_interrupt_at_a_question_ends_its_line(stub, start):
    process, end = at_a_terminal(start, "pool", "add")
    try:
        read_until(end, b"Continue? [y/n]: ")
        process.send_signal(signal.SIGINT)
        assert read_until(end, b"\n") == b"\r\n"
        assert process.wait(timeout=60) == 130
    finally:
        os.close(end)


def test_an_interrupt_anywhere_else_ends_with_130_and_no_traceback(stub, start):
    process = start("pool", "add", stdin=None if os.isatty(0) else -1, start_new_session=True)
    wait_for(lambda: stub.seen("POST", "/plan"))
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert (ended.code, "Traceback" in ended.err) == (130, False)


def test_an_api_that_is_not_there_ends_with_8(start):
    ended = finish(start("pool", "list", env={"TIDEPOOL_URL": "http://127.0.0.1:1"}))
    assert (ended.code, ended.out) == (8, "")
    assert ended.err.startswith("error: cannot reach 127.0.0.1:1: Connection refused\n")


def test_nothing_set_says_how_to_set_it(start, tmp_path):
    ended = finish(start("pool", "list", env={"TIDEPOOL_URL": "", "TIDEPOOL_TOKEN": ""}))
    assert ended.code == 2
    assert "tidepool login" in ended.err


def test_a_terminal_without_unicode_gets_an_answer(stub, start):
    stub.instances = [make_instance(state="busy", lease={"holder": "caf\u00e9 \u2603"})]
    ended = finish(start("pool", "ps", env={"PYTHONIOENCODING": "ascii"}))
    assert ended.code == 0
    assert "caf? ?" in ended.out
