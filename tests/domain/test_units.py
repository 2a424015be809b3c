"""Durations, sizes and prices: what is read, what is refused and how, and that writing and reading agree."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import units
from chalicelib.domain.errors import InvalidInputError

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("5 m", 300),
        (" 5m ", 300),
        ("1h", 3_600),
        ("72h", 259_200),
        ("2d", 172_800),
        ("1w", 604_800),
        ("1.5h", 5_400),
        ("0", 0),
        ("0s", 0),
        ("520w", 520 * 604_800),
        (90, 90),
        (0.25, 0.25),
        (0, 0),
    ],
)
def test_durations_are_read(text, seconds):
    assert units.parse_duration(text, "f") == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "-5m", "5M", "1h30m", "m", "5x", "5mm", "off", "1e3", "٣m", "521w", "9" * 400),
        *(-1, -0.5, True, False, float("nan"), float("inf"), 10**400, None, [], {}, b"5m"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_right_form(value):
    with pytest.raises(InvalidInputError) as caught:
        units.parse_duration(value, "retry.duration")
    assert caught.value.field == "retry.duration"
    assert caught.value.given is value
    assert caught.value.expected == units.DURATION_FORM


@pytest.mark.parametrize("value", ["off", "OFF", " off ", False])
def test_off_and_false_switch_the_idle_limit_off(value):
    assert units.parse_idle_duration(value, "f") == units.NEVER


@pytest.mark.parametrize(("value", "limit"), [("0s", timedelta()), (0, timedelta()), ("5m", timedelta(minutes=5))])
def test_zero_is_an_idle_limit_and_not_off(value, limit):
    assert units.parse_idle_duration(value, "f") == limit


@pytest.mark.parametrize("value", [True, "never", "-1", None, "", "no"])
def test_what_is_no_idle_limit_is_refused_and_off_is_offered(value):
    with pytest.raises(InvalidInputError, match="or off") as caught:
        units.parse_idle_duration(value, "idle_duration")
    assert caught.value.given is value


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(hours=72), "3d"),
        (timedelta(days=14), "2w"),
        (timedelta(seconds=0.25), "0.25s"),
        (units.NEVER, "off"),
    ],
)
def test_durations_are_written_in_the_largest_unit_without_a_fraction(duration, text):
    assert units.format_duration(duration) == text


@given(st.timedeltas(min_value=timedelta(), max_value=units.MAX_DURATION))
def test_a_written_duration_reads_back_the_same(duration):
    assert units.parse_idle_duration(units.format_duration(duration), "f") == duration


@given(st.text(max_size=8))
def test_any_text_is_a_duration_in_range_or_refused(text):
    try:
        duration = units.parse_duration(text, "f")
    except InvalidInputError:
        return
    assert timedelta() <= duration <= units.MAX_DURATION


@pytest.mark.parametrize(
    ("value", "mib"),
    [
        ("512MB", 512),
        ("16GB", 16_384),
        ("16 gb", 16_384),
        ("16Gb", 16_384),
        ("16", 16_384),
        ("1TB", 1_048_576),
        ("1.5GB", 1_536),
        ("0.5TB", 524_288),
        ("0GB", 0),
        (16, 16_384),
        (0.5, 512),
    ],
)
def test_sizes_are_read_as_mib(value, mib):
    assert units.parse_size_mib(value, "f") == mib


@pytest.mark.parametrize(
    ("value", "right"),
    [("8GiB", "8GB"), ("8G", "8GB"), ("512MiB", "512MB"), ("1.5t", "1.5TB"), ("8gi", "8GB"), ("8 GiB", "8GB")],
)
def test_other_units_are_refused_with_the_same_size_in_the_right_form(value, right):
    with pytest.raises(InvalidInputError) as caught:
        units.parse_size_mib(value, "disk")
    assert caught.value.expected == right
    assert units.parse_size_mib(right, "disk")


@pytest.mark.parametrize(
    "value", ["", "GB", "-4GB", "8KB", "8B", "4GBGB", "1e3GB", -1, True, None, float("inf"), ["8GB"]]
)
def test_what_is_no_size_is_refused(value):
    with pytest.raises(InvalidInputError, match="MB, GB or TB"):
        units.parse_size_mib(value, "disk")


@pytest.mark.parametrize(
    ("mib", "text"),
    [(512, "512MB"), (1_024, "1GB"), (1_536, "1.5GB"), (16_384, "16GB"), (1_048_576, "1TB"), (81_559, "81559MB")],
)
def test_sizes_are_written_in_the_unit_they_are_round_in(mib, text):
    assert units.format_size(mib) == text


@given(st.integers(min_value=0, max_value=units.MAX_SIZE_MIB))
def test_a_written_size_reads_back_the_same(mib):
    assert units.parse_size_mib(units.format_size(mib), "f") == mib


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        ("1.50", 1_500_000),
        ("$1.50", 1_500_000),
        ("$ 2", 2_000_000),
        (1.5, 1_500_000),
        (2, 2_000_000),
        (0, 0),
        (0.1 + 0.2, 300_000),
        ("0.0000005", 0),  # half to even
        ("0.0000015", 2),
        (27.44705, 27_447_050),
        (1e-7, 0),
    ],
)
def test_prices_are_read_as_whole_micro_dollars(value, micros):
    assert units.parse_price(value, "f") == micros


@pytest.mark.parametrize(
    "value", ["", "$", "-1", -1, "1,50", "1.5€", "1.5/h", True, False, None, float("nan"), float("inf"), 1e300, "1e3"]
)
def test_what_is_no_price_is_refused(value):
    with pytest.raises(InvalidInputError, match="USD an hour"):
        units.parse_price(value, "max_price")


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (400, "$0.0004"),
        (123_456, "$0.1235"),
        (1_595_000, "$1.595"),
        (2_000_000, "$2.00"),
        (3_670_000, "$3.67"),
        (27_447_050, "$27.45"),
        (98_320_000, "$98.32"),
        (131_200_000, "$131.20"),
        (12_345_678_900, "$12345.68"),
    ],
)
def test_prices_are_written_with_four_significant_digits_and_the_cents(micros, text):
    assert units.format_price(micros) == text


@given(st.integers(min_value=0, max_value=units.MAX_PRICE_MICROS))
def test_an_exactly_written_price_reads_back_the_same(micros):
    assert units.parse_price(units.format_price_exactly(micros), "f") == micros


@given(st.integers(min_value=1, max_value=units.MAX_PRICE_MICROS))
def test_a_written_price_is_off_by_at_most_one_in_two_thousand(micros):
    assert abs(units.parse_price(units.format_price(micros), "f") - micros) <= max(micros / 2_000, 0)
