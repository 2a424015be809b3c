"""The client's shapes against the API's own: neither imports the other, so this is where they are held together."""

import pytest

from chalicelib.api import answers, backend_wire, host_wire, schemas
from chalicelib.domain import errors as domain
from tests.cli.builders import make_instance
from tidepool import errors, wire
from tidepool import host_wire as hosts
from tidepool.commands.pool_ps import FAILURES
from tidepool.follow import EXIT_CODES
from tidepool.rows import EXPECTED

SHAPES = [
    (wire.Me, answers.Me),
    (wire.Pool, answers.Pool),
    (wire.Gpu, answers.Gpu),
    (wire.Resources, answers.Resources),
    (wire.Offer, answers.Offer),
    (wire.LeaseFacts, answers.Hold),
    (wire.Instance, answers.Instance),
    (wire.Attempt, answers.Attempt),
    (wire.Transition, answers.Transition),
    (wire.InstanceDetail, answers.InstanceDetail),
    (wire.Plan, answers.Plan),
    (wire.ClusterPlan, answers.ClusterPlan),
    (wire.Refusal, answers.Refusal),
    (wire.Upload, answers.Upload),
    (wire.RunInstance, answers.RunInstance),
    (wire.LogChunk, answers.LogChunk),
    (wire.Token, answers.IssuedToken),
    (wire.Backend, backend_wire.Backend),
    (wire.Check, backend_wire.CheckResult),
    (wire.Checkup, backend_wire.CheckupResult),
    (wire.HostCheck, answers.HostCheckResult),
    (wire.HostFacts, answers.HostFacts),
    (hosts.Host, host_wire.Host),
    (hosts.HostStep, host_wire.HostStep),
    (hosts.HostCheckup, host_wire.HostCheck),
]


def fields(shape):
    return set(shape.__annotations__)


@pytest.mark.parametrize(("ours", "theirs"), SHAPES, ids=lambda shape: shape.__name__)
def test_an_answer_has_the_shape_that_the_client_names(ours, theirs):
    assert fields(ours) == fields(theirs)


def test_a_run_and_a_lease_have_the_shapes_that_the_client_names():
    assert fields(wire.Run) - {"attempts", "warnings"} == fields(answers.Run)
    assert fields(wire.Run) == fields(answers.RunDetail) | fields(answers.SubmittedRun)
    assert fields(wire.Lease) | fields(wire.Released) == fields(answers.Lease)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (wire.PlanRequest, schemas.PlanRequest),
        (wire.RunRequest, schemas.RunRequest),
        (wire.Policies, schemas.PolicyFields),
        (wire.NewBackend, backend_wire.NewBackend),
        (hosts.HostRequest, host_wire.NewHost),
        (hosts.StepResult, host_wire.StepAnswer),
        (hosts.Jump, host_wire.Place),
    ],
    ids=lambda shape: shape.__name__,
)
def test_a_request_has_the_fields_that_the_api_reads(ours, theirs):
    assert fields(ours) == set(theirs.model_fields)


SHARED = (
    *("--max-price", "2.5", "-b", "aws", "-r", "eu", "--instance-type", "t1", "--spot-auto", "--allow-gpu"),
    *("--cpu", "4..", "--memory", "32GB", "--gpu", "A100:2", "--disk", "100GB", "--shared-memory", "8GB"),
)
LIFETIME = ("--idle-duration", "5m", "--retry-duration", "1h", "--retry-on", "error")


@pytest.mark.parametrize(
    ("words", "ending", "schema"),
    [
        (
            ("offer", "--pool", "default-pool", "--max-offers", "7", "--for-run", *SHARED, *LIFETIME),
            "/plan",
            schemas.PlanRequest,
        ),
        (("pool", "add", "-y", "--no-wait", "--name", "n", *SHARED, *LIFETIME), "/instances", schemas.AddRequest),
        (("lease", "acquire", "--duration", "1m", "--instance", "n", *SHARED), "/leases", schemas.LeaseRequest),
        (
            (
                *("run", "-d", "--no-code", "--pool", "p", "-n", "r", "--instance", "i", "--reuse", "-e", "A=b"),
                *(
                    "--image",
                    "ubuntu",
                    "--kill-after",
                    "1.5s",
                    "--max-duration",
                    "6h",
                    *SHARED,
                    *LIFETIME,
                    "--",
                    "true",
                    "--x",
                ),
            ),
            "/runs",
            schemas.RunRequest,
        ),
        (
            ("instance", "set", "calm-heron-10", "--cordon", "--idle-duration", "off"),
            "/calm-heron-10",
            schemas.ChangeRequest,
        ),
        (("pool", "create", "gpu"), "/pools", schemas.NewPool),
        (("pool", "set-default", "default-pool"), "/default-pool", schemas.DefaultPool),
        (("token", "create", "ci", "--role", "viewer", "--expires-in", "30d"), "/tokens", schemas.NewToken),
        (
            ("backend", "add", "aws", "--name", "mine", "--role-arn", "arn", "-r", "eu-west-1", "--replace"),
            "/backends",
            backend_wire.NewBackend,
        ),
        (("stop", "--no-wait", "--force", "brave-otter-42"), "/stop", schemas.StopRequest),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_what_a_command_sends_is_what_the_api_reads(stub, cli, words, ending, schema):
    stub.instances = [make_instance()]
    cli(*words)
    sent = next(
        request for request in reversed(stub.requests) if request.method != "GET" and request.path.endswith(ending)
    )
    read = schema.model_validate_json(sent.raw)
    assert read.model_dump(exclude_unset=True) == sent.body
    if isinstance(read, schemas.PolicyFields):
        read.policies(schemas.policies.RUN)


def subclasses(error):
    for each in error.__subclasses__():
        yield each
        yield from subclasses(each)


ANSWERED = [
    error
    for error in (domain.TidepoolError, *subclasses(domain.TidepoolError))
    if not issubclass(error, domain.BackendError)
]
"""A provider's refusal ends in an attempt, and never in an answer."""


@pytest.mark.parametrize("theirs", ANSWERED, ids=lambda error: error.__name__)
def test_every_problem_ends_with_the_exit_code_that_its_page_says(theirs):
    problem = {"code": theirs.code, "status": theirs.status, "detail": "x", "retryable": theirs.retryable}
    assert errors.from_problem(theirs.status, problem).exit_code == theirs.exit_code


def test_reasons_that_the_client_knows_are_reasons_of_the_lifecycle():
    from chalicelib.domain.lifecycle import Reason
    from chalicelib.domain.model import RunReason

    assert set(Reason) >= FAILURES
    assert set(Reason) >= EXPECTED
    assert set(RunReason) >= set(EXIT_CODES)
