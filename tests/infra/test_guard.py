"""What the guard lets through to the emulator."""

import asyncio
import urllib.error
import urllib.request

import pytest

from infra.local.deploy import Emulator
from infra.local.guard import Guard

PORT = 4577
OURS = "f" * 32


def make_scope(path: str = "/", query: str = "", **headers: str) -> dict:
    named = {"host": f"127.0.0.1:{PORT}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "type": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }


def signed(key: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


async def no_app(_scope: object, _receive: object, _send: object) -> None:
    raise AssertionError("nothing may get here")


def make_guard(app: object = no_app, *, api_requests: int = 1) -> Guard:
    return Guard(app, port=PORT, root_key=OURS, api_requests=api_requests)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "scope",
    [
        make_scope(authorization=signed(OURS), origin="https://example.org"),
        make_scope(authorization=signed(OURS), origin="null"),
        make_scope(authorization=signed(OURS), referer="https://example.org/"),
        make_scope(authorization=signed(OURS), sec_fetch_site="cross-site"),
        make_scope(authorization=signed(OURS), host="example.org"),
        make_scope(authorization=signed(OURS), host=f"127.0.0.1.example.org:{PORT}"),
        make_scope(authorization=signed(OURS), host=f"127.0.0.1:{PORT + 1}"),
        make_scope("/_ministack/reset", authorization=signed(OURS)),
        make_scope("/_ministack/lambda-code/x", authorization=signed(OURS)),
        make_scope("/_localstack/info", authorization=signed(OURS)),
        make_scope("/_ministack/health", host="example.org"),
    ],
)
def test_pages_strangers_and_administration_are_refused(scope):
    assert make_guard().refusal(scope)


@pytest.mark.parametrize(
    "scope",
    [
        make_scope(),
        make_scope(authorization=signed("test")),
        make_scope(authorization=signed("000000000000")),
        make_scope(authorization="AWS test:signature"),
        make_scope(query="X-Amz-Credential=test/20260101/us-east-1/sqs/aws4_request"),
        make_scope(query="AWSAccessKeyId=test&Signature=0&Expires=1"),
        make_scope(query=f"X-Amz-Credential={OURS}/x&X-Amz-Credential=test/x"),
        make_scope(authorization=signed(OURS), query="X-Amz-Credential=test/x"),
        make_scope("/bucket/_user_request_/key"),
    ],
)
def test_keys_that_the_emulator_would_take_for_root_are_refused(scope):
    assert make_guard().refusal(scope) == "not signed with a key of this control plane"


@pytest.mark.parametrize(
    "scope",
    [
        make_scope(authorization=signed(OURS)),
        make_scope(authorization=signed(OURS), host=f"localhost:{PORT}"),
        make_scope(authorization=signed("ASIA0123456789ABCDEF")),
        make_scope(query="X-Amz-Credential=ASIA0123456789ABCDEF%2F20260101%2Fus-east-1%2Fsqs%2Faws4_request"),
        make_scope("/_ministack/health"),
        make_scope("/restapis/abc/api/_user_request_/v1/health"),
        make_scope("/restapis/abc/api/_user_request_/v1/me", authorization="Bearer tp.1.2"),
    ],
)
def test_the_control_plane_its_functions_and_its_clients_pass(scope):
    assert make_guard().refusal(scope) == ""


def test_two_hosts_in_one_request_are_refused():
    scope = make_scope("/_ministack/health")
    scope["headers"].append((b"host", b"example.org"))
    assert make_guard().refusal(scope) == "foreign Host"


def test_a_crowd_of_api_requests_queues_and_other_requests_do_not():
    async def crowd() -> tuple[int, int]:
        running, most, others = 0, 0, 0
        release = asyncio.Event()

        async def app(scope: dict, _receive: object, _send: object) -> None:
            nonlocal running, most, others
            if "_user_request_" not in scope["path"]:
                others += 1
                release.set()
                return
            running += 1
            most = max(most, running)
            await release.wait()
            running -= 1

        guard = make_guard(app, api_requests=3)
        api = make_scope("/restapis/abc/api/_user_request_/v1/health")
        calls = [guard(api, None, None) for _ in range(20)]  # type: ignore[arg-type]
        listen = make_scope("/000000000000/wake", authorization=signed(OURS))
        await asyncio.wait_for(asyncio.gather(*calls, guard(listen, None, None)), 5)  # type: ignore[arg-type]
        return most, others

    assert asyncio.run(crowd()) == (3, 1)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/_ministack/reset", {}),
        ("/", {"Origin": "https://example.org"}),
        ("/", {"Host": "example.org"}),
        ("/2015-03-31/functions", {"Authorization": signed("test")}),
    ],
)
def test_the_running_emulator_refuses_by_403(emulator: Emulator, path, headers):
    request = urllib.request.Request(emulator.url + path, method="POST", data=b"{}", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value:
        assert refused.value.code == 403
        assert b"Refused" in refused.value.read()


def test_the_running_emulator_serves_the_control_plane(emulator: Emulator):
    assert emulator.client("sts").get_caller_identity()["Arn"].endswith(":root")
