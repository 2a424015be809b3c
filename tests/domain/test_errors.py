"""The error tree: every leaf has a code of its own, a status, an exit code and a meaning."""

import re
from collections.abc import Iterator

import pytest

from chalicelib.domain import errors, networks
from chalicelib.domain.errors import BackendError, InvalidInputError, NotFoundError, TidepoolError, UnknownOutcomeError
from chalicelib.ssh import errors as ssh_errors


def tree(root: type[TidepoolError]) -> Iterator[type[TidepoolError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


MODULES = {errors.__name__, networks.__name__, ssh_errors.__name__}
EVERY = [error for error in tree(TidepoolError) if error.__module__ in MODULES]
DRIVERS = [error for error in EVERY if issubclass(error, BackendError)]


@pytest.mark.parametrize("error", EVERY)
def test_every_error_has_a_kebab_case_code_a_status_an_exit_code_and_a_meaning(error):
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code)
    assert error.status in range(400, 600)
    assert error.exit_code in range(1, 64)
    assert error.__doc__
    assert error.__name__.endswith("Error")


def test_no_two_errors_share_a_code():
    codes = [error.code for error in EVERY]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("error", [error for error in EVERY if error.status in {429, 503}])
def test_what_may_pass_by_itself_is_retryable_or_names_what_must_be_done(error):
    assert error.retryable or error.code in {"quota", "unknown-outcome", "provisioning-failed"}


def test_each_class_of_a_drivers_error_is_one_of_the_eight():
    kinds = [error.kind for error in DRIVERS if error is not BackendError]
    assert sorted(kinds) == sorted(
        ["no_capacity", "quota", "invalid", "auth", "throttled", "balance", "transient", "unknown"]
    )
    assert BackendError.kind == UnknownOutcomeError.kind


def test_an_error_carries_its_words_and_its_public_facts():
    error = NotFoundError("no pool 'x'", pool="x")
    assert str(error) == error.detail == "no pool 'x'"
    assert error.context == {"pool": "x"}


def test_bad_input_names_the_field_what_stood_there_and_what_would_be_right():
    error = InvalidInputError("retry.duration", "5 min", "5m")
    assert error.context == {"field": "retry.duration", "given": "5 min", "expected": "5m"}
    assert str(error) == "retry.duration: '5 min' is not valid; expected 5m"
