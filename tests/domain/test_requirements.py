"""The requirement grammar: every form in a table, what each means, and what is refused with which right form."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import gpu_requirements, requirements
from chalicelib.domain.errors import InvalidInputError
from chalicelib.domain.gpu_requirements import GpuRequirement
from chalicelib.domain.gpus import VENDORS
from chalicelib.domain.requirements import Requirements
from chalicelib.domain.spans import Span

GB = 1024
TB = 1024 * GB


def parsed(**said):
    return requirements.parse(said)[0]


def refusal(**said) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        requirements.parse(said)
    return caught.value


def test_a_request_that_says_nothing_asks_for_two_cpus_and_8gb_and_no_gpu_and_any_disk():
    empty = Requirements(Span(2), Span(8 * GB), gpu=None, disk_mib=None, shared_memory_mib=None)
    assert requirements.parse({}) == (empty, [])
    assert requirements.parse(dict.fromkeys(requirements.KEYS)) == (empty, [])
    assert empty == requirements.DEFAULT


@pytest.mark.parametrize(
    ("given_", "span"),
    [
        ("4", Span(4)),
        (4, Span(4)),
        (4.0, Span(4)),
        ("4..", Span(4)),
        ("..8", Span(0, 8)),
        ("4..8", Span(4, 8)),
        (" 4 .. 8 ", Span(4, 8)),
        ("4..4", Span(4, 4)),
        ("0", Span(0)),
    ],
)
def test_a_cpu_number_means_at_least_and_a_range_includes_its_ends(given_, span):
    assert parsed(cpu=given_).cpus == span


@pytest.mark.parametrize(
    "given_", ["", "..", "1...3", "1..2..3", "-1", "-4..", "1.5", "four", "4x", "1e3", "..0", "0..0", -1, 1.5, True, []]
)
def test_what_is_no_cpu_range_is_refused(given_):
    assert refusal(cpu=given_).field == "requirements.cpu"


@pytest.mark.parametrize(("given_", "right"), [("3..1", "1..3"), ("16..2", "2..16")])
def test_a_range_the_wrong_way_round_is_refused_with_its_ends_turned(given_, right):
    assert right in refusal(cpu=given_).expected


@pytest.mark.parametrize(
    ("given_", "span"),
    [
        ("32GB", Span(32 * GB)),
        ("32", Span(32 * GB)),
        (32, Span(32 * GB)),
        (0.5, Span(512)),
        ("512MB..", Span(512)),
        ("..1TB", Span(0, TB)),
        ("16GB..32GB", Span(16 * GB, 32 * GB)),
        ("16..32GB", Span(16 * GB, 32 * GB)),
        ("16GB..32", Span(16 * GB, 32 * GB)),
        ("512..768MB", Span(512, 768)),
        ("1.5TB", Span(TB + TB // 2)),
    ],
)
@pytest.mark.parametrize("key", ["memory", "disk"])
def test_a_size_means_at_least_and_a_unit_on_one_side_is_enough(key, given_, span):
    found = parsed(**{key: given_})
    assert (found.memory_mib if key == "memory" else found.disk_mib) == span


@pytest.mark.parametrize("given_", ["", "..", "-4GB", "4GB..-8GB", "8KB", "1..2..3GB", "..0GB", True, {}])
@pytest.mark.parametrize("key", ["memory", "disk"])
def test_what_is_no_size_range_is_refused(key, given_):
    assert refusal(**{key: given_}).field == f"requirements.{key}"


@pytest.mark.parametrize(("given_", "part", "right"), [("8GiB..", "8GiB", "8GB"), ("16GB..32G", "32G", "32GB")])
def test_a_binary_unit_is_refused_naming_the_end_at_fault(given_, part, right):
    error = refusal(memory=given_)
    assert (error.given, error.expected) == (part, right)


def test_shared_memory_is_one_size_and_no_more_than_the_memory():
    assert parsed(shared_memory="16GB").shared_memory_mib == 16 * GB
    assert refusal(shared_memory="16GB..").field == "requirements.shared_memory"
    assert refusal(shared_memory="0").expected == "more than 0"
    assert refusal(memory="8GB..16GB", shared_memory="17GB").expected == "no more than the memory, 16GB"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("80GB", GpuRequirement(memory_mib=Span(80 * GB, 80 * GB))),
        ("A100", GpuRequirement(names=("A100",))),
        ("A100:2", GpuRequirement(names=("A100",), count=Span(2, 2))),
        ("A100:80GB", GpuRequirement(names=("A100",), memory_mib=Span(80 * GB, 80 * GB))),
        ("80GB:A100", GpuRequirement(names=("A100",), memory_mib=Span(80 * GB, 80 * GB))),
        ("H100:8:80GB", GpuRequirement(Span(8, 8), ("H100",), memory_mib=Span(80 * GB, 80 * GB))),
        ("A100:40GB..80GB:2", GpuRequirement(Span(2, 2), ("A100",), memory_mib=Span(40 * GB, 80 * GB))),
        ("24GB..40GB:2", GpuRequirement(Span(2, 2), memory_mib=Span(24 * GB, 40 * GB))),
        ("A10G,A100", GpuRequirement(names=("A10G", "A100"))),
        ("MI300X", GpuRequirement(names=("MI300X",))),
        ("A10G, A100, A10G", GpuRequirement(names=("A10G", "A100"))),
        ("RTX 4090", GpuRequirement(names=("RTX4090",))),
        ("nvidia", GpuRequirement(vendor="nvidia")),
        ("NVIDIA:A100:2", GpuRequirement(Span(2, 2), ("A100",), vendor="nvidia")),
        ("amd:192GB:8", GpuRequirement(Span(8, 8), vendor="amd", memory_mib=Span(192 * GB, 192 * GB))),
        ("tpu-v2-8", GpuRequirement(names=("tpu-v2-8",))),
        ("16GB..32", GpuRequirement(memory_mib=Span(16 * GB, 32 * GB))),
        ("16..32GB", GpuRequirement(memory_mib=Span(16 * GB, 32 * GB))),
        ("..24GB", GpuRequirement(memory_mib=Span(0, 24 * GB))),
        ("8", GpuRequirement(Span(8, 8))),
        (8, GpuRequirement(Span(8, 8))),
        ("2..", GpuRequirement(Span(2))),
        ("1..8", GpuRequirement(Span(1, 8))),
        ("..8", GpuRequirement(Span(0, 8))),
        ("A100:..8", GpuRequirement(Span(1, 8), ("A100",))),
        ("A100:0..8", GpuRequirement(Span(0, 8), ("A100",))),
        ("0", GpuRequirement(Span(0, 0))),
        (0, GpuRequirement(Span(0, 0))),
    ],
)
def test_gpu_texts_mean_what_they_say(text, wanted):
    assert parsed(gpu=text).gpu == wanted


@pytest.mark.parametrize(
    ("text", "part", "right"),
    [
        ("", "", "A100:80GB:2"),
        ("A100:", "A100:", "A100:80GB:2"),
        (":A100", ":A100", "A100:80GB:2"),
        ("A100,:2", "A100,", "commas between"),
        ("A100:2:3", "3", "one count only"),
        ("A100:T4", "T4", "one name only"),
        ("40GB:80GB", "80GB", "one memory only"),
        ("nvidia:amd", "amd", "one vendor only"),
        ("nvidia,A100", "nvidia,A100", "nvidia:A100"),
        ("A100:-1", "-1", "a whole number"),
        ("-80GB", "-80GB", "a number with MB, GB or TB"),
        ("A100:80G", "80G", "80GB"),
        ("80GiB", "80GiB", "80GB"),
        ("A100-80GB", "A100-80GB", "A100:80GB"),
        ("2xA100", "2xA100", "A100:2"),
        ("A100x2", "A100x2", "A100:2"),
        ("8*H100:80GB", "8*H100", "H100:8"),
        ("4..2:A100", "4..2", "2..4"),
        ("80GB..40GB", "80GB..40GB", "40GB..80GB"),
        ("80GB:0", "80GB:0", "0 alone"),
        ("A100:0", "A100:0", "0 alone"),
        ("A100:..0", "A100:..0", "0 alone"),
        ("0GB", "0GB", "more than 0"),
        ("A100:1.5", "1.5", "a whole number"),
        ("A1/00", "A1/00", "GPU names"),
    ],
)
def test_a_gpu_text_is_refused_naming_the_part_at_fault_and_the_right_form(text, part, right):
    error = refusal(gpu=text)
    assert (error.field, error.given) == ("requirements.gpu", part)
    assert right in error.expected


@pytest.mark.parametrize(("text", "hint"), [("80", "80GB"), ("4090", "RTX4090"), ("17", "17GB"), ("A100:32..", "32GB")])
def test_a_count_above_any_machine_is_read_and_warned_of(text, hint):
    read, warnings = requirements.parse({"gpu": text})
    assert read.gpu is not None
    assert len(warnings) == 1
    assert hint in warnings[0]


@pytest.mark.parametrize("text", ["16", "1..80", "80GB", "A100:8"])
def test_an_ordinary_gpu_text_is_not_warned_of(text):
    assert requirements.parse({"gpu": text})[1] == []


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({}, GpuRequirement()),
        ({"name": "A100"}, GpuRequirement(names=("A100",))),
        ({"name": ["A100", "H100"], "count": 2}, GpuRequirement(Span(2, 2), ("A100", "H100"))),
        ({"memory": 80}, GpuRequirement(memory_mib=Span(80 * GB, 80 * GB))),
        ({"memory": "24GB..", "count": "1..4"}, GpuRequirement(Span(1, 4), memory_mib=Span(24 * GB))),
        ({"vendor": "AMD", "name": None}, GpuRequirement(vendor="amd")),
        ({"total_memory": "160GB", "count": "1.."}, GpuRequirement(Span(1), total_memory_mib=Span(160 * GB))),
        ({"compute_capability": "8.0"}, GpuRequirement(compute_capability=(8, 0))),
        ({"compute_capability": 7.5}, GpuRequirement(compute_capability=(7, 5))),
        ({"compute_capability": 9}, GpuRequirement(compute_capability=(9, 0))),
        ({"compute_capability": [12, 0]}, GpuRequirement(compute_capability=(12, 0))),
        ({"count": 0}, GpuRequirement(Span(0, 0))),
    ],
)
def test_the_object_form_says_the_same_and_more(said, wanted):
    assert parsed(gpu=said).gpu == wanted


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"nmae": "A100"}, "requirements.gpu.nmae"),
        ({"name": []}, "requirements.gpu.name"),
        ({"name": [7]}, "requirements.gpu.name"),
        ({"name": "4090"}, "requirements.gpu.name"),
        ({"count": -1}, "requirements.gpu.count"),
        ({"count": True}, "requirements.gpu.count"),
        ({"memory": "80G"}, "requirements.gpu.memory"),
        ({"vendor": "voodoo"}, "requirements.gpu.vendor"),
        ({"total_memory": "-1"}, "requirements.gpu.total_memory"),
        ({"compute_capability": "8.x"}, "requirements.gpu.compute_capability"),
        ({"compute_capability": [8]}, "requirements.gpu.compute_capability"),
        ({"compute_capability": 8.15}, "requirements.gpu.compute_capability"),
        ({"count": 0, "memory": "80GB"}, "requirements.gpu"),
        ({"count": 2, "memory": "80GB", "total_memory": "..100GB"}, "requirements.gpu"),
        ({"count": 2, "memory": "40GB", "total_memory": "160GB.."}, "requirements.gpu"),
        ({"vendor": "amd", "compute_capability": "8.0"}, "requirements.gpu"),
    ],
)
def test_a_wrong_object_is_refused_at_its_own_field(said, field):
    assert refusal(gpu=said).field == field


@pytest.mark.parametrize("value", ["A100", 7, ["gpu"], True])
def test_requirements_that_are_no_object_are_refused(value):
    with pytest.raises(InvalidInputError, match="an object"):
        requirements.parse(value)


def test_totals_that_just_add_up_are_no_contradiction():
    pair = {"count": 2, "memory": "80GB"}
    assert parsed(gpu={**pair, "total_memory": "..160GB"}).gpu.total_memory_mib == Span(0, 160 * GB)
    assert parsed(gpu={**pair, "total_memory": "160GB"}).gpu.total_memory_mib == Span(160 * GB)
    assert parsed(memory="8GB..16GB", shared_memory="16GB").shared_memory_mib == 16 * GB


def test_an_unknown_requirement_is_refused_with_the_known_ones():
    error = refusal(gpus="A100")
    assert error.field == "requirements.gpus"
    assert "cpu, memory, gpu" in error.expected


NVIDIA = {"vendor": "nvidia", "count": "1..", "total_memory": "96GB", "compute_capability": 8}


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({}, "2..xCPU, 8GB.."),
        ({"cpu": "4..8", "memory": "16GB..16GB", "disk": "100GB"}, "4..8xCPU, 16GB, 100GB.. (disk)"),
        ({"cpu": "..8", "gpu": 0}, "..8xCPU, 8GB.., no GPU"),
        ({"gpu": "80GB"}, "2..xCPU, 8GB.., 1xGPU (80GB)"),
        ({"gpu": "A100,H100:40GB..80GB:2"}, "2..xCPU, 8GB.., 2xA100,H100 (40GB..80GB)"),
        ({"gpu": NVIDIA}, "2..xCPU, 8GB.., 1..xnvidia GPU (total 96GB.., capability 8.0..)"),
        ({"shared_memory": "4GB"}, "2..xCPU, 8GB.., 4GB (shared memory)"),
    ],
)
def test_requirements_are_described_in_one_line(said, text):
    assert requirements.describe(parsed(**said)) == text


def spans(low: int, high: int):
    ends = st.tuples(st.integers(low, high), st.none() | st.integers(1, high))
    return ends.map(lambda pair: Span(pair[0], pair[1] if pair[1] is None else max(pair)))


names = st.sampled_from(["A100", "H100", "L4", "RTX4090", "tpu-v2-8"])
gpu_values = st.builds(
    GpuRequirement,
    count=spans(1, 16),
    names=st.lists(names, unique=True, max_size=3).map(tuple),
    vendor=st.sampled_from(["", *VENDORS]),
    memory_mib=st.none() | spans(1, 2**20),
)
values = st.builds(
    Requirements,
    cpus=spans(0, 1_000),
    memory_mib=spans(0, 2**30),
    gpu=st.none() | gpu_values,
    disk_mib=st.none() | spans(0, 2**30),
    shared_memory_mib=st.none() | st.integers(0, 2**20),
)


@given(values)
def test_a_stored_requirement_reads_back_the_same(value):
    assert requirements.from_doc(json.loads(json.dumps(requirements.to_doc(value)))) == value


@given(gpu_values)
def test_what_a_gpu_requirement_is_made_of_reads_back_the_same(value):
    parts = [
        ",".join(value.names),
        value.vendor,
        value.memory_mib.describe(lambda mib: f"{mib}MB") if value.memory_mib else "",
        value.count.describe(),
    ]
    assert gpu_requirements.parse(":".join(part for part in parts if part), "gpu") == value


@given(st.text(alphabet="A1 0.:,-GBMTi..", max_size=10))
def test_any_gpu_text_is_read_or_refused_and_never_breaks(text):
    try:
        found = gpu_requirements.parse(text, "gpu")
    except InvalidInputError:
        return
    assert found.count.high is None or found.count.low <= found.count.high
    assert gpu_requirements.describe(found)


@given(spans(0, 100), st.integers(-5, 105))
def test_a_span_holds_exactly_what_lies_between_its_ends(span, number):
    assert (number in span) == (number in range(span.low, 10**6 if span.high is None else span.high + 1))
