"""GPU models: one key for many spellings, nominal memory for what is reported, compute capability by model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import gpus


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        (["A100", "a100", "NVIDIA A100-SXM4-80GB", "NVIDIA A100-PCIE-40GB", "A100 80GB PCIe", "A100 SXM4"], "a100"),
        (["H100", "NVIDIA H100 80GB HBM3", "H100 PCIe", "H100SXM", "H100-SXM5"], "h100"),
        (["H100 NVL", "NVIDIA H100 NVL", "H100NVL"], "h100nvl"),
        (["RTX 4090", "RTX4090", "NVIDIA GeForce RTX 4090", "rtx-4090"], "rtx4090"),
        (["RTX A6000", "A6000", "NVIDIA RTX A6000", "RTXA6000"], "a6000"),
        (["RTX 6000 Ada", "NVIDIA RTX 6000 Ada Generation", "RTX6000Ada"], "rtx6000ada"),
        (["Tesla T4", "T4"], "t4"),
        (["Tesla V100-SXM2-16GB", "V100"], "v100"),
        (["NVIDIA GH200 480GB", "GH200"], "gh200"),
        (["NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000"], "rtxpro6000"),
        (["AMD Instinct MI300X", "MI300X"], "mi300x"),
        (["A10G", "NVIDIA A10G"], "a10g"),
        (["NVIDIA"], "nvidia"),
    ],
)
def test_all_spellings_of_a_model_have_one_key(spellings, key):
    assert {gpus.key(spelling) for spelling in spellings} == {key}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A10", "A10G"),
        ("A10", "A100"),
        ("RTX 6000", "RTX 6000 Ada"),
        ("H100", "H100 NVL"),
        ("L40", "L40S"),
        ("RTX 3090", "RTX 3090 Ti"),
        ("H100", "H200"),
        ("A6000", "RTX 6000"),
    ],
)
def test_models_that_are_not_the_same_have_different_keys(one, other):
    assert gpus.key(one) != gpus.key(other)


@pytest.mark.parametrize(
    ("reported_mib", "gib"),
    [
        (81_559, 80),  # H100
        (81_920, 80),  # A100 80GB
        (40_536, 40),  # A100 40GB
        (22_731, 24),  # A10G with error correction
        (23_034, 24),  # L4
        (24_564, 24),  # RTX 4090
        (46_068, 48),  # L40S
        (49_140, 48),  # RTX A6000
        (15_109, 16),  # T4, an early driver
        (16_160, 16),  # V100
        (11_441, 12),  # K80
        (11_019, 11),  # RTX 2080 Ti
        (95_830, 94),  # H100 NVL
        (97_871, 96),  # GH200
        (143_771, 141),  # H200
        (183_359, 180),  # B200
        (196_592, 192),  # MI300X
        (4_864, 5),  # A100, slice 1g.5gb
        (19_968, 20),  # A100, slice 3g.20gb
    ],
)
def test_reported_memory_becomes_the_size_that_is_sold(reported_mib, gib):
    assert gpus.nominal_mib(reported_mib) == gib * 1024


@pytest.mark.parametrize("reported_mib", [0, 500, 28 * 1024, 500 * 1024])
def test_memory_near_no_size_stays_as_it_is(reported_mib):
    assert gpus.nominal_mib(reported_mib) == reported_mib


@given(st.integers(0, 400 * 1024), st.integers(0, 400 * 1024))
def test_nominal_memory_keeps_the_order_and_is_its_own_nominal(one, other):
    low, high = sorted((one, other))
    assert gpus.nominal_mib(low) <= gpus.nominal_mib(high)
    assert gpus.nominal_mib(gpus.nominal_mib(low)) == gpus.nominal_mib(low)


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA A100-SXM4-80GB", (8, 0)),
        ("RTX 4090", (8, 9)),
        ("RTX 4080 SUPER", (8, 9)),
        ("GTX 1080 Ti", (6, 1)),
        ("RTX 5090", (12, 0)),
        ("H100 NVL", (9, 0)),
        ("RTX 6000", (7, 5)),
        ("MI300X", None),
        ("A1000000", None),
    ],
)
def test_compute_capability_is_known_by_model_or_not_at_all(name, capability):
    assert gpus.compute_capability(name) == capability


def test_every_model_in_the_table_is_listed_under_its_own_key():
    assert {name: gpus.key(name) for name in gpus.COMPUTE_CAPABILITY} == {n: n for n in gpus.COMPUTE_CAPABILITY}


def test_what_a_host_prints_as_a_name_is_short_and_steers_no_terminal():
    name = gpus.sold_as("NVIDIA A100\x1b[2J" + "x" * 500)
    assert name.isprintable()
    assert len(name) <= gpus.LONGEST_NAME
