"""The alarms that are made of log lines watch for lines that are written."""

import json
import re
from typing import Any

import pytest

from chalicelib import log
from infra.alarms import WATCHED
from infra.build import ROOT
from infra.resources import FUNCTIONS, template

RESOURCES: dict[str, Any] = template("test", {})["Resources"]
WRITTEN = {
    event
    for path in (ROOT / "chalicelib").rglob("*.py")
    for event in re.findall(r'\blog\.error\(\s*"([\w-]+)"', path.read_text())
}


@pytest.mark.parametrize("name", WATCHED)
def test_an_alarm_watches_for_lines_that_the_code_writes(name):
    assert set(WATCHED[name].events) <= WRITTEN
    assert WATCHED[name].function in FUNCTIONS


@pytest.mark.parametrize("name", WATCHED)
def test_a_filter_counts_the_lines_of_one_log_in_the_metric_of_its_alarm(name):
    counted, alarm = (RESOURCES[f"{name}{suffix}"]["Properties"] for suffix in ("Filter", "Alarm"))
    assert counted["LogGroupName"]["Ref"] in RESOURCES
    (metric,) = counted["MetricTransformations"]
    assert (metric["MetricNamespace"], metric["MetricName"]) == (alarm["Namespace"], alarm["MetricName"])
    assert metric["MetricNamespace"] == "tidepool-test"
    # A default value would be written with every other line, and a metric is paid for by the hour it is written in.
    assert "DefaultValue" not in metric
    assert alarm["TreatMissingData"] == "notBreaching"
    assert re.findall(r'\(\$\.event = "([\w-]+)"\)', counted["FilterPattern"]) == list(WATCHED[name].events)


def test_a_line_names_its_event_where_the_filters_look(capsys):
    log.error("orphan", machine="m-1")
    assert json.loads(capsys.readouterr().out)["event"] == "orphan"


def test_every_error_line_is_explained_to_operators():
    explained = set(re.findall(r"`([\w-]+)`", (ROOT / "docs/operations.md").read_text()))
    assert WRITTEN - explained == set()
