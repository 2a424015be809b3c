"""An account in several regions, one of which does not answer: what the others have is neither hidden nor given up."""

import pytest

from chalicelib.backends.aws.driver import AwsBackend
from chalicelib.backends.base import Account, Machine, Phase
from chalicelib.domain.errors import TransientError
from tests.builders import NOW

WELL, DEAD = "us-east-1", "eu-central-1"
MACHINE = Machine(f"{WELL}/i-0123456789abcdef0", "i-1-1", Phase.RUNNING, NOW)


@pytest.fixture
def asked():
    """The regions that were asked."""
    return []


@pytest.fixture
def backend(asked, monkeypatch):
    """An account whose machine is in a region that answers, while another region is out of order."""

    def listed(_backend, region, _wanted):
        asked.append(region)
        if region == DEAD:
            raise TransientError(f"aws: {DEAD} is out of order")
        return [MACHINE]

    monkeypatch.setattr(AwsBackend, "_listed", listed)
    return AwsBackend(Account("main", "aws", "aws", {"role_arn": "r", "regions": [WELL, DEAD], "disk_gb": 100}, {}))


def test_one_dead_region_does_not_hide_a_machine_in_another(backend):
    found = backend.find("i-1-1", "owner")
    assert found is not None
    assert found.ref == MACHINE.ref


def test_an_attempt_is_looked_up_in_its_own_region_alone(backend, asked):
    assert backend.find("i-1-1", "owner", WELL) is not None
    assert set(asked) == {WELL}


def test_that_there_is_nothing_is_not_said_without_the_region_that_may_have_it(backend, monkeypatch):
    with pytest.raises(TransientError, match="out of order"):
        backend.find("i-1-1", "owner", DEAD)
    gone = Machine(MACHINE.ref, "i-1-1", Phase.GONE, NOW)
    answered = backend._listed
    monkeypatch.setattr(backend, "_listed", lambda region, wanted: [gone] * len(answered(region, wanted)))
    with pytest.raises(TransientError, match="out of order"):
        backend.find("i-1-1", "owner")
    assert backend.find("i-1-1", "owner", WELL) is None


def test_what_is_owned_comes_before_the_error_of_a_region_that_did_not_say(backend):
    owned = backend.owned("owner")
    assert next(owned) == MACHINE
    with pytest.raises(TransientError, match="out of order"):
        next(owned)
