"""The pure parts of the AWS driver: classes of errors, the request, what types and events are read as."""

import inspect
from datetime import UTC, datetime

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from chalicelib.backends.aws import errors as classes
from chalicelib.backends.aws import events, machines, request
from chalicelib.backends.base import MachineEvent, Sign
from chalicelib.domain import errors

CODES = {
    errors.NoCapacityError: "InsufficientInstanceCapacity InsufficientHostCapacity InsufficientCapacity Unsupported "
    "UnfulfillableCapacity SpotMaxPriceTooLow InsufficientReservedInstanceCapacity InsufficientFreeAddressesInSubnet",
    errors.QuotaError: "VcpuLimitExceeded InstanceLimitExceeded MaxSpotInstanceCountExceeded VolumeLimitExceeded "
    "PendingVerification",
    errors.InvalidRequestError: "InvalidParameterValue InvalidParameterCombination InvalidAMIID.NotFound "
    "InvalidAMIID.Unavailable InvalidSubnetID.NotFound InvalidInstanceType InvalidInstanceType.NotFound",
    errors.BackendAuthError: "UnauthorizedOperation AuthFailure OptInRequired AccessDenied ExpiredToken "
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    errors.BackendThrottledError: "RequestLimitExceeded Throttling",
    errors.TransientError: "Unavailable ServiceUnavailable",
    errors.UnknownOutcomeError: "InternalError InternalFailure SomethingThatComesNextYear",
}
"""What each code means to a launch. Source: the API error reference of EC2."""

NEVER_OF_A_CALL = {
    "BotoCoreError", "DataNotFoundError", "UnknownServiceError", "ApiVersionNotFoundError", "InvalidIMDSEndpointError",
    "InvalidIMDSEndpointModeError", "UnknownSignatureVersionError", "ConfigParseError", "ConfigNotFound",
    "UnknownServiceStyle", "PaginationError", "OperationNotPageableError", "UnseekableStreamError", "WaiterError",
    "InvalidExpressionError", "WaiterConfigError", "UnknownClientMethodError", "UnsupportedSignatureVersionError",
    "InvalidS3AddressingStyleError", "UnsupportedS3ArnError", "UnsupportedS3ControlArnError",
    "UnsupportedOutpostResourceError", "UnsupportedS3ConfigurationError", "UnsupportedS3AccesspointConfigurationError",
    "InvalidEndpointDiscoveryConfigurationError", "UnsupportedS3ControlConfigurationError",
    "InvalidRetryConfigurationError", "InvalidMaxRetryAttemptsError", "InvalidRetryModeError",
    "InvalidS3UsEast1RegionalEndpointConfigError", "InvalidSTSRegionalEndpointsConfigError", "StubResponseError",
    "StubAssertionError", "UnStubbedResponseError", "InvalidConfigError", "MD5UnavailableError",
    "MissingDependencyException", "CapacityNotAvailableError", "InvalidProxiesConfigError", "InvalidDefaultsMode",
    "AwsChunkedWrapperError", "InvalidEndpointConfigurationError", "InvalidChecksumConfigError",
    "UnsupportedServiceProtocolsError",
}  # fmt: skip
"""Faults of set-up, of other services, of test doubles. Should one come all the same, a launch stays open."""

AFTER_SENDING = {
    "HTTPClientError", "ConnectionError", "SSLError", "ConnectionClosedError", "ReadTimeoutError",
    "ResponseStreamingError", "IncompleteReadError", "ChecksumError", "FlexibleChecksumError",
}  # fmt: skip
"""What may come when a request was sent already."""


def of_botocore():
    return [
        each
        for each in vars(botocore.exceptions).values()
        if inspect.isclass(each) and issubclass(each, BotoCoreError) and each.__module__ == botocore.exceptions.__name__
    ]


def bare(kind):
    """An exception as it is raised, whatever its words would need."""
    return kind.__new__(kind)


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in CODES.items() for code in codes.split()])
def test_each_code_of_ec2_is_its_class(kind, code):
    error = ClientError({"Error": {"Code": code, "Message": "words"}}, "RunInstances")
    assert type(classes.launch_failure(error)) is kind
    assert "words" in classes.launch_failure(error).detail


def test_what_aws_said_is_passed_on_and_not_at_any_length():
    said = {"Code": "UnauthorizedOperation", "Message": "You are not authorized. Encoded message: " + 2000 * "x"}
    detail = classes.launch_failure(ClientError({"Error": said}, "RunInstances")).detail
    assert detail.startswith("aws: RunInstances: UnauthorizedOperation: You are not authorized.")
    assert len(detail) < 400


def test_that_the_sdk_made_no_second_try_is_not_repeated():
    answer = {"Error": {"Message": "later"}, "ResponseMetadata": {"MaxAttemptsReached": True, "RetryAttempts": 0}}
    error = ClientError(answer, "RunInstances")
    assert "reached max retries: 0" in str(error)
    detail = classes.launch_failure(error).detail
    assert "later" in detail
    assert "retries" not in detail


@pytest.mark.parametrize("code", CODES[errors.UnknownOutcomeError].split())
def test_a_call_that_makes_nothing_may_be_repeated_after_what_nobody_foresaw(code):
    error = ClientError({"Error": {"Code": code, "Message": ""}}, "DescribeInstances")
    assert type(classes.refusal(error)) is errors.TransientError


@pytest.mark.parametrize("kind", of_botocore(), ids=lambda kind: kind.__name__)
def test_each_exception_of_the_sdk_is_known(kind):
    """A new version of botocore may bring new ones: each has to be thought about once."""
    known = any(base.__name__ in classes.SDK for base in kind.__mro__)
    assert known is (kind.__name__ not in NEVER_OF_A_CALL)


@pytest.mark.parametrize("kind", of_botocore(), ids=lambda kind: kind.__name__)
def test_only_what_is_raised_before_sending_means_that_nothing_was_made(kind):
    found = type(classes.launch_failure(bare(kind)))
    unforeseen = kind.__name__ in AFTER_SENDING | NEVER_OF_A_CALL
    assert (found is errors.UnknownOutcomeError) is unforeseen
    assert type(classes.refusal(bare(kind))) is (errors.TransientError if unforeseen else found)


def test_an_answer_that_cannot_be_read_leaves_a_launch_open():
    assert type(classes.launch_failure(ResponseParserError("half an answer"))) is errors.UnknownOutcomeError


def test_the_token_is_the_attempts_and_the_owners_own():
    tokens = {request.client_token(*each) for each in (("a-1", "x"), ("a-2", "x"), ("a-1", "y"), ("a-1", "x"))}
    assert len(tokens) == 3
    assert all(len(token) == 64 and token.isascii() for token in tokens)


def test_every_type_of_ec2_has_the_architecture_that_its_name_says():
    from moto.ec2.models.instance_types import INSTANCE_TYPES

    linux = {name: row for name, row in INSTANCE_TYPES.items() if not name.startswith("mac")}
    assert len(linux) > 1000
    wrong = [
        name
        for name, row in linux.items()
        if request.architecture(name) not in row["ProcessorInfo"]["SupportedArchitectures"]
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("status", "taken_back"),
    [
        ("fulfilled", False),
        ("marked-for-termination", True),
        ("instance-terminated-by-price", True),
        ("instance-terminated-no-capacity", True),
        ("instance-terminated-by-user", False),
        ("request-canceled-and-instance-running", False),
        ("", False),
    ],
)
def test_the_status_of_a_spot_request_says_whether_its_machine_is_taken_back(status, taken_back):
    assert machines.is_taken_back(status) is taken_back


AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
REF = "eu-central-1/i-0123456789abcdef0"


def event(detail_type: str, **detail: str) -> dict[str, object]:
    """An event as EventBridge delivers it."""
    return {
        "version": "0",
        "id": "01234567-0123-0123-0123-0123456789ab",
        "detail-type": detail_type,
        "source": "aws.ec2",
        "account": "123456789012",
        "time": "2026-11-22T01:02:03Z",
        "region": "eu-central-1",
        "resources": ["arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789abcdef0"],
        "detail": {"instance-id": "i-0123456789abcdef0", **detail},
    }


@pytest.mark.parametrize("state", ["shutting-down", "terminated"])
def test_an_instance_on_its_way_out_is_gone(state):
    assert events.parse(event(events.STATE, state=state)) == MachineEvent(REF, Sign.GONE, AT)


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped"])
def test_any_other_state_is_no_news(state):
    assert events.parse(event(events.STATE, state=state)) is None


def test_a_warning_names_the_end_two_minutes_ahead():
    warned = event("EC2 Spot Instance Interruption Warning", **{"instance-action": "terminate"})
    assert events.parse(warned) == MachineEvent(REF, Sign.INTERRUPTION, AT.replace(minute=4))


def test_a_recommendation_is_read():
    assert events.parse(event("EC2 Instance Rebalance Recommendation")) == MachineEvent(REF, Sign.REBALANCE, AT)


def test_events_of_other_kinds_are_not_ours():
    assert events.parse(event("AWS API Call via CloudTrail")) is None
    assert events.parse({**event(events.STATE, state="terminated"), "source": "my.own"}) is None
    assert events.parse({}) is None


def test_an_event_that_lacks_what_it_must_have_is_refused():
    with pytest.raises(ValueError, match="not understood"):
        events.parse({**event(events.STATE), "detail": {}})
