"""The alarms that are made of log lines watch for lines that are written."""

import json
import re
from typing import Any

import pytest

from chalicelib import log
from infra.alarms import WATCHED
from infra.build import ROOT
from infra.resources import CONSUMERS, FUNCTIONS, template

RESOURCES: dict[str, Any] = template("test", {})["Resources"]
ALARMS = [each["Properties"] for each in RESOURCES.values() if each.get("Type") == "AWS::CloudWatch::Alarm"]
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


@pytest.mark.parametrize("reader", CONSUMERS)
def test_a_stream_that_is_not_read_is_told_of_by_the_age_of_its_records(reader):
    """Nothing fails and nothing reaches the failure queue while a mapping stands still: records wait."""
    (alarm,) = [each for each in ALARMS if each["MetricName"] == "IteratorAge" and _function(each) == reader]
    assert alarm["Statistic"] == "Maximum"
    assert alarm["Threshold"] == 300 * 1000  # milliseconds


@pytest.mark.parametrize(("function", "within_s"), [("Sweep", 300), ("Reconcile", 900)])
def test_a_schedule_that_stops_is_told_of_by_its_silence(function, within_s):
    (alarm,) = [each for each in ALARMS if each["MetricName"] == "Invocations" and _function(each) == function]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["Period"] == within_s


def test_a_timer_that_had_to_be_filed_again_is_told_of():
    assert "timer-lost" in WATCHED["TimerLost"].events


def _function(alarm: dict[str, Any]) -> str:
    return str(alarm["Dimensions"][0]["Value"]["Ref"])


def test_a_line_names_its_event_where_the_filters_look(capsys):
    log.error("orphan", machine="m-1")
    assert json.loads(capsys.readouterr().out)["event"] == "orphan"


def test_every_error_line_is_explained_to_operators():
    explained = set(re.findall(r"`([\w-]+)`", (ROOT / "docs/operations.md").read_text()))
    assert WRITTEN - explained == set()
