"""What the keys of a file mean, older ones included, and how wrong values are refused."""

import pytest

from tidepool.file_policies import read_policies, refuse_unknown
from tidepool.yaml_file import FileError, read


def policies(tmp_path, text):
    (tmp_path / "f.yml").write_text(text)
    content = read(str(tmp_path / "f.yml"), "f.yml")
    refuse_unknown(content, ())
    notes = []
    said = read_policies(content.entries, notes)
    return {name: one.value for name, one in said.items()}, notes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("idle_duration: off", {"idle_duration": "off"}),
        ("idle_duration: false", {"idle_duration": "off"}),
        ("idle_duration: 'off'", {"idle_duration": "off"}),
        ("idle_duration: 0s", {"idle_duration": "0s"}),
        ("idle_duration: 300", {"idle_duration": "300"}),
        ("max_duration: off", {"max_duration": "off"}),
        ("max_price: 2.5", {"max_price": 2.5}),
        ("max_price: $2.50", {"max_price": 2.5}),
        ("max_price:", {}),
        ("retry: yes", {"retry": True}),
        ("retry: {duration: 2h}", {"retry": {"duration": "2h"}}),
        ("spot_policy: auto", {"spot_policy": "auto"}),
        ("backends: [aws]", {"backends": ["aws"]}),
        ("resources: {gpu: 24:2}", {"gpu": "24:2"}),
        ("resources: {gpu: A100:80GB:2, cpu: 4}", {"gpu": "A100:80GB:2", "cpu": "4"}),
        ("resources: {shm_size: 1GB}", {"shared_memory": "1GB"}),
        ("resources: {gpu: {name: [A100, H100], memory: 80GB, count: 2}}",
         {"gpu": {"name": ["A100", "H100"], "memory": "80GB", "count": "2"}}),
        ("resources: {gpu: {total_memory: 160GB.., compute_capability: 8.0}}",
         {"gpu": {"total_memory": "160GB..", "compute_capability": "8.0"}}),
    ],
)  # fmt: skip
def test_a_value_is_taken_as_it_was_meant(tmp_path, text, wanted):
    assert policies(tmp_path, text) == (wanted, [])


@pytest.mark.parametrize(
    ("text", "wanted", "notes"),
    [
        ("pool_name: a", {"pool": "a"}, ["pool_name"]),
        ("instance_name: a", {"instance": "a"}, ["instance_name"]),
        ("creation_policy: reuse", {"reuse": True}, ["creation_policy"]),
        ("creation_policy: reuse-or-create", {"reuse": False}, ["creation_policy"]),
        ("retry_policy: {retry: true}", {"retry": True}, ["retry_policy"]),
        ("retry_policy: {retry: false}", {"retry": False}, ["retry_policy"]),
        ("retry_policy: {duration: 2h}", {"retry": {"duration": "2h"}}, ["retry_policy"]),
        ("termination_policy: dont-destroy", {"idle_duration": "off"}, ["termination_policy"]),
        ("termination_policy: destroy-after-idle", {}, ["termination_policy"]),
        ("termination_idle_time: 10m", {"idle_duration": "10m"}, ["termination_idle_time"]),
        ("termination_policy: dont-destroy\ntermination_idle_time: 10m", {"idle_duration": "off"},
         ["termination_policy", "termination_idle_time"]),
        ("termination_idle_time: 10m\ntermination_policy: dont-destroy", {"idle_duration": "off"},
         ["termination_idle_time", "termination_policy"]),
    ],
)  # fmt: skip
def test_an_older_key_means_what_it_meant_and_is_noted(tmp_path, text, wanted, notes):
    found, told = policies(tmp_path, text)
    assert found == wanted
    assert [line.split()[1] for line in told] == notes
    assert told[0].startswith("f.yml:1: ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pool: [a]", "1: pool: a list is not a name"),
        ("pool: ''", "1: pool: nothing is not a name"),
        ("backends: aws", "1: backends: 'aws' is not a list of names, such as [aws, azure]"),
        ("\nregions: [a, {b: c}]", "2: regions: a map is not a text"),
        ("max_price: much", "1: max_price: 'much' is not USD an hour above 0 and below 1000000, such as 2.5"),
        ("max_price: -1", "1: max_price: '-1' is not USD an hour above 0 and below 1000000, such as 2.5"),
        ("max_price: .nan", "1: max_price: '.nan' is not USD an hour above 0 and below 1000000, such as 2.5"),
        ("idle_duration: true", "1: idle_duration: 'true' is not a duration such as 30m, or off"),
        ("reuse: 1", "1: reuse: '1' is not true or false"),
        ("spot_policy: cheap", "1: spot_policy: 'cheap' is not one of spot, on-demand, auto"),
        ("spot_policy: on", "1: spot_policy: 'on' is not one of spot, on-demand, auto"),
        ("retry: 1h", "1: retry: '1h' is not true, false, or a map with on_events and duration"),
        ("retry: {}", "1: retry: an empty map is not true, false, or a map with on_events and duration"),
        ("retry: {on: [error]}", "1: 'on' is no key here; did you mean on_events?"),
        ("retry: {on_events: []}", "1: retry.on_events: an empty list is not a list with at least one of no-capacity"),
        (
            "retry:\n  on_events:\n  - boredom",
            "3: retry.on_events: 'boredom' is not one of no-capacity, interruption, error",
        ),
        ("retry: {duration: [1]}", "1: retry.duration: a list is not a duration such as 2h"),
        ("resources: 80GB", "1: resources: '80GB' is not a map with some of cpu, memory"),
        ("resources: {gpus: 1}", "1: 'gpus' is no key here; did you mean gpu?"),
        ("resources: {cpu: [1]}", "1: resources.cpu: a list is not a number or a text, such as 4.."),
        ("resources: {gpu: {names: A100}}", "1: 'names' is no key here; did you mean name?"),
        ("resources: {gpu: {count: [1]}}", "1: resources.gpu.count: a list is not a text or a number"),
        ("resources: {memory: true}", "1: resources.memory: 'true' is not a number or a text, such as 32GB.."),
        ("creation_policy: create", "1: creation_policy: 'create' is not reuse or reuse-or-create"),
        ("retry_policy: true", "1: retry_policy: 'true' is not a map with retry (true or false) and duration"),
        ("retry_policy: {limit: 1h}", "1: 'limit' is no key here"),
        ("termination_policy: never", "1: termination_policy: 'never' is not dont-destroy or destroy-after-idle"),
        ("pool: a\npool_name: b", "2: pool_name and pool say the same thing; keep one of them"),
        ("idle_duration: 1m\ntermination_idle_time: 1m", "2: termination_idle_time and idle_duration say the same"),
        ("cpu: 4", "1: cpu stands under resources"),
    ],
)
def test_a_wrong_value_is_refused_with_line_key_and_the_right_form(tmp_path, text, told):
    with pytest.raises(FileError) as caught:
        policies(tmp_path, text)
    assert caught.value.detail.startswith(f"f.yml:{told}")
    assert caught.value.exit_code == 2
