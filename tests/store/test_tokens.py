"""Tokens on their table: a bootstrap token is exchanged once, and an agent's token is in nobody's list."""

import pytest

from chalicelib.domain.errors import AlreadyExistsError, NotFoundError, UnauthenticatedError
from chalicelib.domain.model import Role
from chalicelib.store import tokens
from tests.builders import later, make_token

pytestmark = pytest.mark.usefixtures("dynamodb")

BOOTSTRAP = make_token(token_id="boot", role=Role.AGENT, instance="instance/acme/main/i-1", expires_at=later(hours=1))


def proposal(digit: str = "a", token_id: str = "agent-1"):
    """An agent's own token, as it proposes it."""
    return make_token(token_id=token_id, role=Role.AGENT, instance=BOOTSTRAP.instance, secret_sha256=digit * 64)


def test_what_is_read_is_what_was_written():
    for token in (make_token(), make_token(token_id="t-2", role=Role.VIEWER, expires_at=later(days=1), project="*")):
        tokens.put(token)
        assert tokens.get(token.token_id) == token
    assert tokens.get("nobody") is None


def test_an_id_is_taken_once():
    for _ in range(2):
        tokens.put(make_token())
    with pytest.raises(AlreadyExistsError):
        tokens.put(make_token(secret_sha256="1" * 64))


def test_a_revoked_token_is_unknown_and_other_projects_revoke_nothing():
    tokens.put(make_token())
    with pytest.raises(NotFoundError):
        tokens.revoke("other", "t-1")
    tokens.revoke("acme", "t-1")
    assert tokens.get("t-1") is None
    with pytest.raises(NotFoundError):
        tokens.revoke("acme", "t-1")


def test_a_project_lists_its_own_tokens_without_those_of_agents():
    for number in range(5):
        tokens.put(make_token(token_id=f"t-{number}"))
    tokens.put(make_token(token_id="other", project="other"))
    tokens.put(BOOTSTRAP)
    first, cursor = tokens.by_project("acme", 3, None)
    second, last = tokens.by_project("acme", 3, cursor)
    assert [token.token_id for token in first + second] == [f"t-{number}" for number in range(5)]
    assert last is None
    assert tokens.by_project("nobody", 3) == ([], None)


def test_a_bootstrap_token_is_exchanged_for_the_token_that_the_agent_proposes():
    tokens.put(BOOTSTRAP)
    assert tokens.use_bootstrap("boot", "a" * 64, agent=proposal()) == proposal()
    assert tokens.get("agent-1") == proposal()


def test_an_agent_that_lost_the_answer_gets_the_same_token_again():
    tokens.put(BOOTSTRAP)
    tokens.use_bootstrap("boot", "a" * 64, agent=proposal())
    assert tokens.use_bootstrap("boot", "a" * 64, agent=proposal(token_id="agent-2")).token_id == "agent-1"
    assert tokens.get("agent-2") is None


def test_another_proposal_under_a_used_bootstrap_token_is_refused():
    tokens.put(BOOTSTRAP)
    tokens.use_bootstrap("boot", "a" * 64, agent=proposal())
    with pytest.raises(UnauthenticatedError):
        tokens.use_bootstrap("boot", "b" * 64, agent=proposal("b", "agent-2"))
    assert tokens.get("agent-2") is None


def test_an_unknown_bootstrap_token_is_refused():
    with pytest.raises(UnauthenticatedError):
        tokens.use_bootstrap("boot", "a" * 64, agent=proposal())
    assert tokens.get("agent-1") is None


def test_a_proposal_must_be_what_is_stored():
    with pytest.raises(ValueError, match="hash"):
        tokens.use_bootstrap("boot", "b" * 64, agent=proposal("a"))
