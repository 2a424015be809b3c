"""Names that people give, and ids and names that we make."""

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.names import is_id, is_name, new_id, pleasant_name, require_name
from tests.builders import NOW


@pytest.mark.parametrize("text", ["a", "0", "a-b", "gpu-pool-1", "a--b", "a" * 63])
def test_names_are_accepted_as_they_are(text):
    assert is_name(text)
    assert require_name(text, "name") == text


@pytest.mark.parametrize(
    "text", ["", "-", "-a", "a-", "A", "a_b", "a.b", "a/b", "a b", "a\n", "ä", "٣", "a" * 64, "#project", None, 7, True]
)
def test_other_names_are_refused_with_the_field(text):
    assert not is_name(text)
    with pytest.raises(InvalidInputError, match="lower-case") as caught:
        require_name(text, "pool")
    assert caught.value.field == "pool"


def test_an_id_is_its_prefix_ten_digits_of_time_and_eight_random_ones():
    made = new_id("run", NOW, Random(1))
    prefix, _, digits = made.partition("-")
    assert (prefix, len(digits)) == ("run", 18)
    assert is_name(made)
    assert is_id(made)


@pytest.mark.parametrize(
    "text", ["", "box", "brave-otter-42", "i-1", "i-" + "0" * 17, "i-" + "0" * 19, "I-" + "0" * 18]
)
def test_other_texts_are_no_ids(text):
    assert not is_id(text)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.randoms(use_true_random=False))
def test_ids_sort_by_the_millisecond_they_were_made_in(first_ms, second_ms, rng):
    first, second = (new_id("i", NOW + timedelta(milliseconds=ms), rng) for ms in (first_ms, second_ms))
    if first_ms < second_ms:
        assert first < second
    elif first_ms > second_ms:
        assert first > second


def test_ids_of_one_millisecond_differ():
    rng = Random(7)
    assert len({new_id("i", NOW, rng) for _ in range(2_000)}) == 2_000


def test_pleasant_names_are_names_and_many():
    rng = Random(7)
    made = [pleasant_name(rng) for _ in range(500)]
    assert all(is_name(name) and name.count("-") == 2 for name in made)
    assert len(set(made)) > 490
