"""What tells an operator that something needs a look: alarms on the metrics of AWS, and on lines of our own log.

An alarm costs $0.10 a month. A metric made of log lines costs $0.30 for a month in which it is written all the time and
nothing for an hour without a line, so none has a default value: lines that nobody hopes for are free until they come.
Source: Amazon CloudWatch pricing, custom metrics (prorated by the hour, metered when sent). Each alarm's meaning and
the act it asks for are in `docs/operations.md`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

PERIOD_S: Final = 300

LATE_MS: Final = 300_000
"""How old a stream's record may be when its function gets it: what a row may be late before reconcile looks after it.

One that fails is tried for about a minute. Source of metric and unit: AWS Lambda Developer Guide, `IteratorAge`.
"""

SILENT_AFTER_S: Final = {"Sweep": 300, "Reconcile": 900}
"""Scheduled function -> how long it may not be invoked: five of its periods for the clock, three for the comparison."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Events in one function's log that ask for one act. `count` of them within `period_s` are too many.

    The period is longer than the time between two repeats of what goes on, so that an alarm stays on until it is over.
    """

    function: str
    events: tuple[str, ...]
    count: int
    period_s: int


WATCHED: Final = {
    # Both come every 10 minutes for as long as it is so.
    "TeardownOverdue": Watch("OnTimer", ("teardown-overdue",), count=1, period_s=900),
    "ProvisioningOverdue": Watch("OnTimer", ("provisioning-overdue",), count=1, period_s=900),
    "Orphan": Watch("Reconcile", ("orphan",), count=1, period_s=900),
    # It comes with every second comparison for as long as rows are past their deadlines and nothing fires for them.
    "TimerLost": Watch("Reconcile", ("timer-lost",), count=1, period_s=900),
    # Of 6 comparisons in the time, half: one that fails alone is a hiccup of the provider's.
    "ComparisonFailing": Watch("Reconcile", ("reconcile-failed",), count=3, period_s=1800),
    # An answer that is lost once in a while is looked up and needs nobody; a driver that fails writes both at each try.
    "LaunchUnclear": Watch("Provision", ("driver-fault", "attempt-unknown"), count=3, period_s=3600),
    # Credentials do not mend themselves, and neither does an empty account.
    "BackendOut": Watch("Provision", ("backend-out",), count=1, period_s=900),
    # The driver lacks a line for it: until it has one, each of these costs a look-up.
    "AnswerUnmapped": Watch("Provision", ("answer-unmapped",), count=1, period_s=3600),
    # Of the three tries of the time, all: prices that a provider does not tell for a moment are a few hours old.
    "PricesOld": Watch("Catalog", ("catalog-failed",), count=3, period_s=2700),
    # Of 5 sweeps in the time, most: one alone is a minute with very many timers.
    "SweepBehind": Watch("Sweep", ("sweep-incomplete",), count=3, period_s=300),
}
"""What the alarm, the filter and the metric are named after, without their suffix -> what they watch."""


def alarms(
    prefix: str, *, workers: Iterable[str], readers: Iterable[str], workflows: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Return alarms and metric filters: what silently stops machines from being stopped, or makes too many.

    Logical ids: `workers` are functions that nobody waits for, `readers` those that read a stream, `workflows` state
    machines.
    """
    found = {
        "FailureQueueAlarm": _alarm(
            "AWS/SQS",
            "ApproximateNumberOfMessagesVisible",
            {"QueueName": {"Fn::GetAtt": ["FailureQueue", "QueueName"]}},
            statistic="Maximum",
        ),
        "ApiErrorsAlarm": _alarm("AWS/Lambda", "Errors", {"FunctionName": {"Ref": "APIHandler"}}),
    }
    # The sweep is the clock of everything, the comparison the net under it: silence is as bad as an error.
    for function, after_s in SILENT_AFTER_S.items():
        named = {"FunctionName": {"Ref": function}}
        found[f"{function}SilentAlarm"] = _alarm("AWS/Lambda", "Invocations", named, period_s=after_s, silent=True)
    # A mapping that stands still fails nowhere: its records wait, and are lost after 24 hours.
    for reader in readers:
        named = {"FunctionName": {"Ref": reader}}
        found[f"{reader}LateAlarm"] = _alarm("AWS/Lambda", "IteratorAge", named, statistic="Maximum", count=LATE_MS)
    for worker in workers:
        found[f"{worker}ErrorsAlarm"] = _alarm("AWS/Lambda", "Errors", {"FunctionName": {"Ref": worker}})
    for workflow in workflows:
        machine = {"StateMachineArn": {"Ref": workflow}}
        found[f"{workflow.removesuffix('Workflow')}FailedAlarm"] = _alarm("AWS/States", "ExecutionsFailed", machine)
    for name, watch in WATCHED.items():
        found[f"{name}Filter"] = _filter(prefix, name, watch)
        found[f"{name}Alarm"] = _alarm(prefix, name, {}, count=watch.count, period_s=watch.period_s)
    return found


def _filter(namespace: str, metric: str, watch: Watch) -> dict[str, Any]:
    """Count the lines of a function's log whose event is one of those watched."""
    terms = " || ".join(f'($.event = "{event}")' for event in watch.events)
    return {
        "Type": "AWS::Logs::MetricFilter",
        "Properties": {
            "LogGroupName": {"Ref": f"{watch.function}Log"},
            "FilterPattern": f"{{ {terms} }}",
            "MetricTransformations": [{"MetricNamespace": namespace, "MetricName": metric, "MetricValue": "1"}],
        },
    }


def _alarm(
    namespace: str,
    metric: str,
    dimensions: dict[str, Any],
    *,
    statistic: str = "Sum",
    count: int = 1,
    period_s: int = PERIOD_S,
    silent: bool = False,
) -> dict[str, Any]:
    """An alarm on `count` (or, when `silent`, on fewer) of `metric`, in its own unit, within a period."""
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
            "Statistic": statistic,
            "Period": period_s,
            "EvaluationPeriods": 1,
            "Threshold": count,
            "ComparisonOperator": "LessThanThreshold" if silent else "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "breaching" if silent else "notBreaching",
            "AlarmActions": [{"Ref": "AlarmTopic"}],
        },
    }
