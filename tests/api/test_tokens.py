"""Tokens over HTTP."""

import pytest

TOKENS = "/projects/acme/tokens"


def test_a_token_is_shown_once_and_works_until_it_is_revoked(api):
    made = api("POST", TOKENS, {"name": "ci", "role": "user", "expires_in": "1h"})
    assert made.status == 201
    token = made.body["token"]
    assert made.body["expires_at"] == "2030-01-02T04:04:05.000Z"
    assert api("GET", "/me", token=token).body == {
        "name": "ci",
        "role": "user",
        "project": "acme",
        "expires_at": "2030-01-02T04:04:05.000Z",
    }
    listed = api("GET", TOKENS)
    assert {each["name"] for each in listed.body["items"]} == {"ci", "admin-of-acme"}
    assert token.rpartition(".")[2] not in listed.text
    assert api("DELETE", f"{TOKENS}/{made.body['token_id']}").body["revoked"] is True
    assert api("GET", "/me", token=token).status == 401
    assert api("DELETE", f"{TOKENS}/{made.body['token_id']}").code == "not-found"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "role": "god"}, "role"),
        ({"name": "x", "role": "agent"}, "role"),
        ({"name": "", "role": "user"}, "name"),
        ({"name": "x\n", "role": "user"}, "name"),
        ({"name": "x", "role": "user", "expires_in": "0s"}, "expires_in"),
        ({"name": "x", "role": "user", "expires_in": "400d"}, "expires_in"),
        ({"name": "x", "role": "user", "expires_in": "never"}, "expires_in"),
        ({"name": "x"}, "role"),
    ],
)
def test_a_wrong_token_is_422_and_named(api, body, field):
    answer = api("POST", TOKENS, body)
    assert (answer.status, answer.body["field"]) == (422, field)


def test_the_admin_of_a_project_makes_no_token_of_every_project(api):
    assert api("POST", "/projects/*/tokens", {"name": "x", "role": "admin"}).code == "not-found"


def test_the_tokens_of_another_project_are_out_of_reach(api, token_for):
    from chalicelib.domain.model import Role

    other = token_for(Role.ADMIN, "other").split(".")[1]
    assert api("DELETE", f"{TOKENS}/{other}").code == "not-found"


def test_the_tokens_of_machines_are_not_listed(api, ready):
    ready()
    assert [each["name"] for each in api("GET", TOKENS).body["items"]] == ["admin-of-acme"]


def test_an_expired_token_is_not_listed(api):
    api("POST", TOKENS, {"name": "short", "role": "user", "expires_in": "10s"})
    api.world.pass_time(11)
    assert [each["name"] for each in api("GET", TOKENS).body["items"]] == ["admin-of-acme"]
