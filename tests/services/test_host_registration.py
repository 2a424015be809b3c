"""A host that is installed again while its agent registers: the newest agent is the one that is heard."""

import secrets

import pytest

from chalicelib.agent.tidepool_agent import Identity
from chalicelib.domain.errors import UnauthenticatedError
from chalicelib.domain.lifecycle import State
from chalicelib.domain.model import Instance, Token
from chalicelib.services import adoption, agents, pools, tokens
from chalicelib.services.adoption_steps import Done
from tests.services.host_steps import add, record_of
from tests.services.sim_hosts import SimHost
from tests.services.steps import state_of
from tests.services.world import World


@pytest.fixture
def world(world: World) -> World:
    pools.create(world.deps, "main", "lab")
    return world


class Link:
    """The agent's way to the API, without HTTP."""

    def __init__(self, world: World) -> None:
        self.world = world

    def post(self, _path, body, bearer):
        return register(self.world, bearer, body["proposed_token"])


def register(world: World, bootstrap: str, secret: str) -> dict[str, str]:
    made = agents.register(world.deps, tokens.verify(world.deps, bootstrap), secret)
    return {"token_id": made.token_id, "instance_id": made.instance_id}


def sync(world: World, bearer: str) -> Token:
    token = tokens.verify(world.deps, bearer)
    agents.sync(world.deps, token, agents.SyncReport(boot_id="b"))
    return token


def installed(world: World, host: SimHost, row: Instance) -> tuple[str, str]:
    """Run the installation of a host that was looked at; return its token and what it printed."""
    printed = host.execute(adoption.next_step(world.deps, record_of(world, row)).script.text, world.clock)
    return host.token, printed.stdout


@pytest.fixture
def box(world: World) -> tuple[SimHost, Instance]:
    host = world.hosts.add()
    row = add(world, from_here=True)
    look = adoption.next_step(world.deps, record_of(world, row)).script
    printed = host.execute(look.text, world.clock)
    adoption.answered(world.deps, record_of(world, row), look.step, Done(printed.stdout, "", 0))
    return host, row


def test_an_installation_that_is_repeated_while_its_agent_registers_works(world, box, tmp_path):
    """The client is killed after the script ran, and the agent is ended before it has written that it is registered."""
    host, row = box
    first = Identity(str(tmp_path), installed(world, host, row)[0])
    before = (tmp_path / "agent.json").read_text()
    first.register(Link(world))
    (tmp_path / "agent.json").write_text(before)
    world.pass_time(5)
    token, printed = installed(world, host, row)
    adoption.answered(world.deps, record_of(world, row), record_of(world, row).step, Done(printed, "", 0))
    second = Identity(str(tmp_path), token)
    assert not second.is_registered
    second.register(Link(world))
    sync(world, second.bearer)
    assert state_of(world, row).state is State.IDLE
    with pytest.raises(UnauthenticatedError):
        tokens.verify(world.deps, first.bearer)


def test_an_agent_that_registers_late_does_not_displace_the_one_that_was_installed_later(world, box):
    host, row = box
    older = installed(world, host, row)[0]
    world.pass_time(5)
    newer = installed(world, host, row)[0]
    secret, late = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    register(world, newer, secret)
    with pytest.raises(UnauthenticatedError):
        register(world, older, late)
    assert register(world, newer, secret) == register(world, newer, secret)


def test_the_answer_of_an_agent_that_was_displaced_is_not_given_again(world, box):
    host, row = box
    older, secret = installed(world, host, row)[0], secrets.token_urlsafe(32)
    register(world, older, secret)
    world.pass_time(5)
    register(world, installed(world, host, row)[0], secrets.token_urlsafe(32))
    with pytest.raises(UnauthenticatedError):
        register(world, older, secret)


def test_an_agent_that_was_heard_is_displaced_by_nobody(world, box):
    host, row = box
    older, secret = installed(world, host, row)[0], secrets.token_urlsafe(32)
    world.pass_time(5)
    newer, printed = installed(world, host, row)
    adoption.answered(world.deps, record_of(world, row), record_of(world, row).step, Done(printed, "", 0))
    bearer = f"tpa.{register(world, older, secret)['token_id']}.{secret}"
    sync(world, bearer)
    with pytest.raises(UnauthenticatedError):
        register(world, newer, secrets.token_urlsafe(32))
    sync(world, bearer)
