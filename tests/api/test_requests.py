"""What is refused before anything happens, and how the refusal helps."""

import json

import pytest

POOL = "/projects/acme/pools/main"


@pytest.mark.parametrize("body", ["", "{", "[]", '"text"', "null", b"\xff\xfe{}", "{" * 3000])
def test_what_is_no_json_object_is_400(api, body):
    if body == "":
        body = " "
    answer = api("POST", "/projects/acme/pools", body)
    assert (answer.status, answer.code) == (400, "malformed-body")


def test_another_content_type_is_415(api):
    answer = api("POST", "/projects/acme/pools", "name=x", content_type="application/x-www-form-urlencoded")
    assert (answer.status, answer.code) == (415, "unsupported-media-type")


def test_a_charset_is_no_other_content_type(api):
    assert (
        api("POST", "/projects/acme/pools", {"name": "p"}, content_type="application/json; charset=utf-8").status == 201
    )


def test_a_body_above_the_limit_is_413(api):
    answer = api("POST", "/projects/acme/pools", {"name": "x" * 1_000_000})
    assert (answer.status, answer.code) == (413, "body-too-large")


def test_an_unknown_field_is_422_and_named(api):
    answer = api("POST", "/projects/acme/pools", {"name": "p", "colour": "blue"})
    assert (answer.status, answer.code) == (422, "invalid-input")
    assert answer.body["field"] == "colour"
    assert answer.body["given"] == "(not shown)"  # the name may be a slip of one that holds a secret


def test_every_wrong_field_is_listed_and_the_first_one_is_named(api):
    answer = api("POST", "/projects/acme/runs", {"argv": [1], "reuse": "yes"})
    assert answer.status == 422
    assert answer.body["field"] == "argv.0"
    assert answer.body["given"] == 1
    assert "string" in answer.body["expected"]
    assert [error["field"] for error in answer.body["errors"]] == ["argv.0", "reuse"]


def test_an_unknown_query_parameter_is_422_and_named(api):
    answer = api("DELETE", f"{POOL}?forse=true")
    assert answer.status == 422
    assert answer.body["field"] == "forse"
    assert "force" in answer.body["expected"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{POOL}/instances?limit=0", "limit"),
        (f"{POOL}/instances?limit=1001", "limit"),
        (f"{POOL}/instances?limit=ten", "limit"),
        (f"{POOL}/instances?limit=%EF%BC%91", "limit"),
        (f"{POOL}/instances?cursor=bm9uZQ", "cursor"),
        (f"{POOL}/instances?ended_since_s=-1", "ended_since_s"),
        ("/projects/acme/runs?active=maybe", "active"),
        ("/projects/acme/runs?cursor=%00", "cursor"),
        ("/projects/acme/runs/x/logs?after=-1", "after"),
        ("/projects/acme/tokens?cursor=zzzz", "cursor"),
    ],
)
def test_a_wrong_parameter_is_422_and_named(api, path, field):
    answer = api("GET", path)
    assert answer.status == 422, answer.text
    assert answer.body["field"] == field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"idle_duration": "-5m"}, "idle_duration"),
        ({"idle_duration": "soon"}, "idle_duration"),
        ({"requirements": {"memory": "16GiB"}}, "requirements.memory"),
        ({"requirements": {"disk": "-1GB"}}, "requirements.disk"),
        ({"requirements": {"gpus": 1}}, "requirements.gpus"),
        ({"requirements": {"gpu": "A100:0..0:90XB"}}, "requirements.gpu"),
        ({"max_price": -1}, "max_price"),
        ({"max_price": "cheap"}, "max_price"),
        ({"spot_policy": "sometimes"}, "spot_policy"),
        ({"backends": "aws"}, "backends"),
        ({"retry": {"duration": "1h", "until": "noon"}}, "retry"),
        ({"name": "Not A Name"}, "name"),
        ({"name": "x" * 64}, "name"),
    ],
)
def test_a_wrong_duration_size_or_name_is_422_and_named(api, body, field):
    answer = api("POST", f"{POOL}/instances", body)
    assert (answer.status, answer.code) == (422, "invalid-input")
    assert answer.body["field"] == field
    assert answer.body["expected"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"argv": []}, "argv"),
        ({"argv": ["a\0b"]}, "argv.0"),
        ({"argv": ["x" * 70_000]}, "argv"),
        ({"argv": ["x"], "env": {"1BAD": "x"}}, "env.1BAD.[key]"),
        ({"argv": ["x"], "env": {"BIG": "x" * 70_000}}, "env"),
        ({"argv": ["x"], "code": "not-a-hash"}, "code"),
        ({"argv": ["x"], "image": "--privileged"}, "image"),
        ({"argv": ["x"], "kill_after_s": -1}, "kill_after_s"),
        ({"argv": ["x"], "name": "-"}, "name"),
        ({}, "argv"),
    ],
)
def test_a_wrong_run_is_422_and_named(api, body, field):
    answer = api("POST", "/projects/acme/runs", body)
    assert (answer.status, answer.code) == (422, "invalid-input"), answer.text
    assert answer.body["field"].startswith(field)


@pytest.mark.parametrize("size", [0, 512 * 1024 * 1024 + 1, "1"])
def test_an_archive_of_a_wrong_size_is_422(api, size):
    answer = api("POST", "/projects/acme/uploads", {"sha256": "0" * 64, "size": size})
    assert answer.status == 422
    assert answer.body["field"] == "size"


def test_a_long_value_is_echoed_in_part_only(api):
    answer = api("POST", "/projects/acme/uploads", {"sha256": "z" * 5000, "size": 1})
    assert answer.status == 422
    assert len(answer.body["given"]) < 300


def test_an_unforeseen_error_is_a_500_without_internals(api, monkeypatch, capsys):
    from chalicelib.services import pools

    def broken(*_):
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(pools, "show", broken)
    answer = api("GET", POOL)
    assert (answer.status, answer.code) == (500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failure = next(line for line in logged if line["event"] == "unexpected-error")
    assert failure["error"] == "ZeroDivisionError"
    assert failure["request_id"] == answer.body["request_id"]


@pytest.mark.parametrize(("code", "status"), [("SlowDown", 429), ("ServiceUnavailable", 503), ("AccessDenied", 500)])
def test_an_aws_error_tells_whether_to_try_again(api, monkeypatch, code, status):
    from botocore.exceptions import ClientError

    def failing(*_, **__):
        raise ClientError({"Error": {"Code": code, "Message": "arn:aws:iam::123:role/secret"}}, "HeadObject")

    monkeypatch.setattr(api.world.objects, "present", failing)
    answer = api("POST", "/projects/acme/uploads", {"sha256": "0" * 64, "size": 1})
    assert answer.status == status
    assert answer.body["retryable"] is (status != 500)
    assert answer.headers.get("retry-after") == (None if status == 500 else "1")
    assert "arn:" not in answer.text


def test_no_answer_from_aws_is_503(api, monkeypatch):
    from botocore.exceptions import ConnectTimeoutError

    def silent(*_, **__):
        raise ConnectTimeoutError(endpoint_url="http://s3")

    monkeypatch.setattr(api.world.objects, "present", silent)
    answer = api("POST", "/projects/acme/uploads", {"sha256": "0" * 64, "size": 1})
    assert (answer.status, answer.code) == (503, "unavailable")


def test_a_path_that_could_not_be_a_name_is_404(api):
    for path in ("/projects/acme/pools/a%2Fb", "/projects/acme/pools/%23project", f"/projects/acme/pools/{'x' * 300}"):
        assert api("GET", path).code == "not-found"
