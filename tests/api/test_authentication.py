"""Who is let in, and what a stranger learns: nothing."""

from datetime import timedelta

import pytest

from chalicelib.api import auth
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.domain.model import Role
from chalicelib.services import pools, tokens
from tests.builders import NOW, make_token


def test_health_needs_no_token(api):
    answer = api("GET", "/health", token="")
    assert answer.status == 200
    assert answer.body == {"status": "ok", "stage": "test", "version": "0.1.0", "time": "2030-01-02T03:04:05.000Z"}


@pytest.mark.parametrize(
    "token",
    ["", "nonsense", "tp.unknown.0123456789012345678901234567890123456789012", "tp..", "tp.a.b.c", "tp.a.ü" * 9],
)
def test_no_token_or_one_that_is_none_is_401(api, token):
    assert api("GET", "/me", token=token).status == 401


def test_another_scheme_is_401(api):
    answer = api("GET", "/me", token="", Authorization=f"Basic {api.token}")
    assert answer.status == 401


def test_a_wrong_secret_under_a_known_id_is_401(api):
    prefix, token_id, secret = api.token.split(".")
    assert api("GET", "/me", token=f"{prefix}.{token_id}.{secret[::-1]}").status == 401


def test_the_prefix_of_another_kind_is_401(api):
    _, token_id, secret = api.token.split(".")
    assert api("GET", "/me", token=f"tpa.{token_id}.{secret}").status == 401
    assert api("GET", "/me", token=f"tpb.{token_id}.{secret}").status == 401


def test_a_token_ends_at_its_moment(api, token_for):
    token = token_for(Role.VIEWER, expires_in=timedelta(seconds=10))
    assert api("GET", "/me", token=token).status == 200
    api.world.pass_time(10)
    assert api("GET", "/me", token=token).status == 401


def test_a_revoked_token_is_401(api, token_for):
    token = token_for(Role.VIEWER)
    assert api("DELETE", f"/projects/acme/tokens/{token.split('.')[1]}").status == 200
    assert api("GET", "/me", token=token).status == 401


def test_me_tells_whose_token_it_is(api):
    assert api("GET", "/me").body == {
        "name": "admin-of-acme",
        "role": "admin",
        "project": "acme",
        "expires_at": "2030-04-02T03:04:05.000Z",
    }


def test_another_project_is_404_and_looks_like_one_that_does_not_exist(api, world):
    tokens_of_both = [api("GET", f"/projects/{name}/pools") for name in ("other", "never-made")]
    pools.create_project(world.deps, "other")
    tokens_of_both.append(api("GET", "/projects/other/pools"))
    assert {answer.status for answer in tokens_of_both} == {404}
    assert {answer.code for answer in tokens_of_both} == {"not-found"}
    details = {answer.body["detail"].replace("other", "X").replace("never-made", "X") for answer in tokens_of_both}
    assert len(details) == 1


def test_a_token_of_every_project_reaches_every_project(api, token_for, world):
    assert api("GET", "/projects/acme/pools", token=token_for(Role.VIEWER, "*")).status == 200
    assert api("GET", "/projects/none/pools", token=token_for(Role.VIEWER, "*")).code == "not-found"


def test_the_authorizer_allows_every_route_because_its_answer_is_kept_for_all_of_them(api):
    event = {
        "type": "TOKEN",
        "authorizationToken": f"Bearer {api.token}",
        "methodArn": "arn:aws:execute-api:r:1:a/s/GET/v1/me",
    }
    policy = auth.authorizer(event, None)
    assert policy["policyDocument"]["Statement"][0]["Resource"] == ["arn:aws:execute-api:r:1:a/s/*/*"]
    assert all(isinstance(value, str) for value in policy["context"].values())


def test_the_authorizer_fails_with_the_one_message_that_the_gateway_answers_with_401(api):
    event = {"type": "TOKEN", "authorizationToken": "Bearer x", "methodArn": "arn:aws:execute-api:r:1:a/s/GET/v1/me"}
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        auth.authorizer(event, None)


def test_the_context_carries_the_caller_without_the_hash():
    token = make_token(expires_at=NOW)
    back = auth.token_of(auth.context_of(token))
    assert back.secret_sha256 == ""
    assert (back.token_id, back.role, back.project, back.name) == (
        token.token_id,
        token.role,
        token.project,
        token.name,
    )
    assert back.expires_at == NOW


def test_every_refusal_of_a_token_says_the_same(world, token_for):
    token = token_for(Role.USER)
    prefix, token_id, _ = token.split(".")
    words = set()
    for text in ("", "x", f"{prefix}.none.{'a' * 43}", f"{prefix}.{token_id}.{'a' * 43}"):
        with pytest.raises(UnauthenticatedError) as refused:
            tokens.verify(world.deps, text)
        words.add(refused.value.detail)
    assert len(words) == 1
