"""What `Backend` promises, said once. A driver's test subclasses `BackendContract` with its fixtures.

The driver speaks real HTTP to a provider (a fake one is a server too), and `Rehearsal` is the provider's switchboard.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from uuid import uuid4

import pytest

from chalicelib.backends.base import Backend, LaunchSpec, Machine, Phase
from chalicelib.domain import errors
from chalicelib.domain.model import Offer

GONE_WITHIN_S = 60.0

CLASSES = {
    kind.kind: kind
    for kind in (
        errors.NoCapacityError,
        errors.QuotaError,
        errors.InvalidRequestError,
        errors.BackendAuthError,
        errors.BackendThrottledError,
        errors.BalanceError,
        errors.TransientError,
        errors.UnknownOutcomeError,
    )
}


class Rehearsal(Protocol):
    """How a test makes a provider misbehave. Each act holds for the next launch only, except `slow`."""

    def fail_next(self, kind: str) -> None:
        """Refuse the next launch with an answer that means the error class of this `kind`; nothing is made."""

    def lose_next_answer(self) -> None:
        """Do the next launch, and cut the connection instead of answering."""

    def slow(self, seconds: float) -> None:
        """Let every answer take this long, from now on."""

    def interrupt(self, ref: str) -> None:
        """Take a machine away, as a spot market does: notice first, the end some time later."""

    def leftovers(self, ref: str) -> list[str]:
        """Name what is left at the provider of a machine: processes, disks, addresses."""

    def reset(self) -> None:
        """Behave again."""


def spec_for(offer: Offer, *, attempt_id: str = "", owner: str, user_data: str = "exec sleep 600") -> LaunchSpec:
    """An attempt at one offer, under an id of its own unless one is given."""
    return LaunchSpec(attempt_id or f"attempt-{uuid4().hex}", owner, offer, user_data, {"tidepool-pool": "main"})


def only(machines: Iterator[Machine]) -> Machine:
    """The one machine that is there."""
    found = list(machines)
    assert len(found) == 1, found
    return found[0]


class BackendContract:
    """Subclasses give the fixtures that raise here; they say in `kinds` which refusals the provider knows."""

    kinds: tuple[str, ...] = tuple(CLASSES)
    hasty_limit_s = 1.0
    """The time limit of the fixture `hasty`: the same account through a driver of little patience."""

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError

    @pytest.fixture
    def hasty(self) -> Backend:
        raise NotImplementedError

    @pytest.fixture
    def locked_out(self) -> Backend:
        """The same account with credentials that are wrong."""
        raise NotImplementedError

    @pytest.fixture
    def rehearsal(self) -> Rehearsal:
        raise NotImplementedError

    @pytest.fixture
    def owner(self) -> str:
        return f"tidepool-{uuid4().hex[:8]}"

    @pytest.fixture
    def spec(self, backend: Backend, owner: str) -> LaunchSpec:
        return spec_for(self.cheapest(backend), owner=owner)

    @pytest.fixture(autouse=True)
    def clean_up(self, backend: Backend, rehearsal: Rehearsal, owner: str) -> Iterator[None]:
        """Leave nothing behind, whatever the test did."""
        yield
        rehearsal.reset()
        for machine in backend.owned(owner):
            backend.terminate(machine.ref)
        for machine in list(backend.owned(owner)):
            self.await_gone(backend, machine.ref)

    def cheapest(self, backend: Backend, *, spot: bool = False) -> Offer:
        return min((offer for offer in backend.offers() if offer.spot is spot), key=lambda offer: offer.price)

    def await_gone(self, backend: Backend, ref: str) -> None:
        give_up_at = time.monotonic() + GONE_WITHIN_S
        while backend.describe(ref).phase is not Phase.GONE:
            assert time.monotonic() < give_up_at, f"{ref} is not gone after {GONE_WITHIN_S} s"
            time.sleep(0.02)

    def test_offers_are_well_formed(self, backend):
        offers = backend.offers()
        assert offers
        for offer in offers:
            assert offer.backend == backend.name
            assert offer.region
            assert offer.instance_type
            assert isinstance(offer.price, int)
            assert offer.price > 0
            assert offer.price_source
            assert offer.resources.cpus > 0
            assert offer.resources.memory_mib > 0
            assert all(gpu.count > 0 and gpu.memory_mib > 0 and gpu.name for gpu in offer.resources.gpus)

    def test_no_two_offers_are_the_same_thing(self, backend):
        offers = backend.offers()
        assert len({offer.key for offer in offers}) == len(offers)
        assert len({offer.shape for offer in offers}) == len(offers)

    def test_a_backend_offers_spot_when_it_says_so_and_only_then(self, backend):
        assert any(offer.spot for offer in backend.offers()) is backend.capabilities.spot

    def test_a_launched_machine_carries_its_attempt(self, backend, spec):
        made = backend.launch(spec)
        assert made.attempt_id == spec.attempt_id
        assert made.phase in {Phase.STARTING, Phase.RUNNING}
        assert made.launched_at is not None
        assert made.launched_at.tzinfo is not None
        assert not made.interrupted
        assert backend.describe(made.ref).attempt_id == spec.attempt_id

    def test_a_spot_machine_can_be_launched(self, backend, owner):
        if not backend.capabilities.spot:
            pytest.skip("the backend has no spot")
        made = backend.launch(spec_for(self.cheapest(backend, spot=True), owner=owner))
        assert backend.describe(made.ref).phase is not Phase.GONE

    def test_asking_twice_launches_once(self, backend, owner, spec):
        assert backend.launch(spec).ref == backend.launch(spec).ref
        assert only(backend.owned(owner)).attempt_id == spec.attempt_id

    def test_asking_twice_at_once_launches_once(self, backend, owner, spec):
        with ThreadPoolExecutor(4) as callers:
            refs = {machine.ref for machine in callers.map(backend.launch, [spec] * 4)}
        assert refs == {only(backend.owned(owner)).ref}

    def test_two_attempts_launch_two_machines(self, backend, owner, spec):
        other = spec_for(spec.offer, owner=owner)
        assert backend.launch(spec).ref != backend.launch(other).ref
        assert {machine.attempt_id for machine in backend.owned(owner)} == {spec.attempt_id, other.attempt_id}

    def test_a_lost_answer_is_an_unknown_outcome_and_is_found_by_its_attempt(self, backend, rehearsal, spec):
        rehearsal.lose_next_answer()
        with pytest.raises(errors.UnknownOutcomeError):
            backend.launch(spec)
        found = backend.find(spec.attempt_id, spec.owner)
        assert found is not None
        assert found.attempt_id == spec.attempt_id
        assert found.phase is not Phase.GONE

    def test_asking_again_after_a_lost_answer_launches_nothing_more(self, backend, rehearsal, owner, spec):
        rehearsal.lose_next_answer()
        with pytest.raises(errors.UnknownOutcomeError):
            backend.launch(spec)
        assert backend.launch(spec).ref == only(backend.owned(owner)).ref

    def test_owned_finds_what_launch_made_although_its_answer_was_lost(self, backend, rehearsal, owner, spec):
        rehearsal.lose_next_answer()
        with pytest.raises(errors.UnknownOutcomeError):
            backend.launch(spec)
        assert only(backend.owned(owner)).attempt_id == spec.attempt_id

    def test_an_attempt_that_made_nothing_is_not_found(self, backend, owner):
        assert backend.find(f"attempt-{uuid4().hex}", owner) is None

    def test_what_belongs_to_another_owner_is_neither_found_nor_owned(self, backend, spec):
        backend.launch(spec)
        assert backend.find(spec.attempt_id, "tidepool-somebody-else") is None
        assert list(backend.owned("tidepool-somebody-else")) == []

    def test_an_unknown_machine_is_gone_and_not_an_error(self, backend):
        assert backend.describe(self.unknown_ref).phase is Phase.GONE

    def test_ending_an_unknown_machine_is_fine(self, backend):
        backend.terminate(self.unknown_ref)

    def test_ending_a_machine_twice_is_fine_and_so_is_ending_a_gone_one(self, backend, spec):
        ref = backend.launch(spec).ref
        backend.terminate(ref)
        backend.terminate(ref)
        assert backend.describe(ref).phase in {Phase.STOPPING, Phase.GONE}
        self.await_gone(backend, ref)
        backend.terminate(ref)

    def test_nothing_is_left_of_a_machine_that_is_gone(self, backend, rehearsal, owner, spec):
        ref = backend.launch(spec).ref
        assert rehearsal.leftovers(ref)
        backend.terminate(ref)
        self.await_gone(backend, ref)
        assert rehearsal.leftovers(ref) == []
        assert list(backend.owned(owner)) == []
        assert backend.find(spec.attempt_id, owner) is None

    def test_an_interrupted_machine_says_so_or_is_gone(self, backend, rehearsal, owner):
        if not backend.capabilities.spot:
            pytest.skip("the backend has no spot")
        ref = backend.launch(spec_for(self.cheapest(backend, spot=True), owner=owner)).ref
        rehearsal.interrupt(ref)
        if not backend.describe(ref).interrupted:  # some providers tell the machine alone, and take it
            self.await_gone(backend, ref)

    @pytest.mark.parametrize("kind", CLASSES)
    def test_each_refusal_is_raised_as_its_class_and_leaves_nothing(self, backend, rehearsal, owner, spec, kind):
        if kind not in self.kinds:
            pytest.skip(f"the provider has no answer that means {kind}")
        rehearsal.fail_next(kind)
        with pytest.raises(errors.BackendError) as caught:
            backend.launch(spec)
        assert type(caught.value) is CLASSES[kind]
        assert list(backend.owned(owner)) == []
        assert backend.launch(spec).attempt_id == spec.attempt_id, "the next launch meets no fault"

    def test_a_slow_launch_is_cut_off_and_its_outcome_is_unknown(self, hasty, rehearsal, owner, spec):
        self.warm_up(hasty, spec_for(spec.offer, owner=owner))
        slow_s = 4 * self.hasty_limit_s  # and no longer: what is launched then is for the tests' end to remove
        rehearsal.slow(slow_s)
        with pytest.raises(errors.UnknownOutcomeError):
            self.sooner_than(slow_s, lambda: hasty.launch(spec))

    @pytest.mark.parametrize("verb", ["offers", "describe", "terminate", "find", "owned"])
    def test_a_slow_provider_is_cut_off_at_every_other_call(self, hasty, rehearsal, verb):
        slow_s = 20 * self.hasty_limit_s
        rehearsal.slow(slow_s)
        calls = {
            "offers": hasty.offers,
            "describe": lambda: hasty.describe(self.unknown_ref),
            "terminate": lambda: hasty.terminate(self.unknown_ref),
            "find": lambda: hasty.find("attempt", "owner"),
            "owned": lambda: list(hasty.owned("owner")),
        }
        with pytest.raises(errors.TransientError):
            self.sooner_than(slow_s, calls[verb])

    def test_a_good_account_passes_every_check(self, backend):
        found = backend.check()
        assert found
        assert [each for each in found if not each.ok] == []

    def test_wrong_credentials_are_a_failed_check_that_says_what_to_do(self, locked_out):
        failed = [each for each in locked_out.check() if not each.ok]
        assert failed
        assert all(each.name and each.detail and each.fix for each in failed)

    @pytest.mark.parametrize("verb", ["offers", "launch", "describe", "terminate", "find", "owned"])
    def test_wrong_credentials_are_an_auth_error_at_every_call(self, locked_out, spec, verb):
        calls = {
            "offers": locked_out.offers,
            "launch": lambda: locked_out.launch(spec),
            "describe": lambda: locked_out.describe(self.unknown_ref),
            "terminate": lambda: locked_out.terminate(self.unknown_ref),
            "find": lambda: locked_out.find(spec.attempt_id, spec.owner),
            "owned": lambda: list(locked_out.owned(spec.owner)),
        }
        with pytest.raises(errors.BackendAuthError):
            calls[verb]()

    def warm_up(self, hasty: Backend, spec: LaunchSpec) -> None:
        """Launch something, however often it takes: what a driver looks up once is known from then on."""
        give_up_at = time.monotonic() + GONE_WITHIN_S
        while True:
            try:
                hasty.launch(spec)
            except (errors.TransientError, errors.UnknownOutcomeError):
                assert time.monotonic() < give_up_at, "it is not launched"
            else:
                return

    @staticmethod
    def sooner_than(slow_s: float, call: Callable[[], object]) -> object:
        """Make a call; fail when it takes about as long as the provider, however busy the computer is."""
        began = time.monotonic()
        try:
            return call()
        finally:
            assert time.monotonic() - began < 0.9 * slow_s

    unknown_ref = "m-0123456789abcdef"
    """A reference of the provider's own format that nothing has."""
