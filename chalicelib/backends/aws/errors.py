"""What AWS and its SDK can answer, as the classes that decide what happens next.

Of a launch the one question is whether something may have been made. Codes are from the EC2 API error reference and
from the "common errors" of EC2, STS, SSM and the price list; a code that is not here leaves a launch open.
"""

import re
from collections.abc import Mapping
from typing import Final

from chalicelib.domain.errors import (
    BackendAuthError,
    BackendError,
    BackendThrottledError,
    InvalidRequestError,
    NoCapacityError,
    QuotaError,
    TransientError,
    UnknownOutcomeError,
)

CODES: Final[Mapping[str, type[BackendError]]] = {
    **dict.fromkeys(
        (
            "InsufficientInstanceCapacity",  # comes with status 500
            "InsufficientHostCapacity",
            "InsufficientCapacity",
            "InsufficientReservedInstanceCapacity",
            "UnfulfillableCapacity",
            "SpotMaxPriceTooLow",
            "InsufficientFreeAddressesInSubnet",  # of one zone only
            "Unsupported",  # the type is not in this zone
        ),
        NoCapacityError,
    ),
    **dict.fromkeys(
        (
            "VcpuLimitExceeded",
            "InstanceLimitExceeded",
            "MaxSpotInstanceCountExceeded",
            "SpotInstanceCountLimitExceeded",
            "VolumeLimitExceeded",
            "MaxIOPSLimitExceeded",
            "NetworkInterfaceLimitExceeded",
            "SecurityGroupLimitExceeded",
            "PendingVerification",  # a new account: AWS validates it for some hours
        ),
        QuotaError,
    ),
    **dict.fromkeys(
        (
            "UnauthorizedOperation",
            "AuthFailure",
            "OptInRequired",
            "Blocked",
            "AccessDenied",
            "AccessDeniedException",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
            "MissingAuthenticationToken",
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "RegionDisabledException",
        ),
        BackendAuthError,
    ),
    **dict.fromkeys(
        (
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "TooManyRequestsException",
            "RequestThrottled",
            "EC2ThrottledException",
        ),
        BackendThrottledError,
    ),
    **dict.fromkeys(
        (
            "InvalidParameter",
            "InvalidParameterValue",
            "InvalidParameterCombination",
            "InvalidParameterException",
            "MissingParameter",
            "UnknownParameter",
            "ValidationError",
            "ValidationException",
            "InvalidInstanceType",
            "InvalidBlockDeviceMapping",
            "InvalidUserData.Malformed",
            "InvalidTagKey.Malformed",
            "TagLimitExceeded",
            "InvalidRequest",
            "VPCIdNotSpecified",
            "DefaultVpcDoesNotExist",
            "MissingInput",
        ),
        InvalidRequestError,
    ),
    "Unavailable": TransientError,
    "ServiceUnavailable": TransientError,
    # A group that was made a moment ago, or deleted since it was looked up: the next try looks again.
    "InvalidGroup.NotFound": TransientError,
}
"""What each code means, for a launch as for any other call: nothing was made. `InternalError` is not here on purpose:
a launch may have come far enough before it to make a machine."""

FAMILIES: Final[Mapping[str, type[BackendError]]] = {
    "InvalidAMIID.": InvalidRequestError,
    "InvalidSubnetID.": InvalidRequestError,
    "InvalidInstanceType.": InvalidRequestError,
    "InvalidSnapshot.": InvalidRequestError,
    "InvalidSubnet.": InvalidRequestError,
    "AuthFailure.": BackendAuthError,  # .ServiceLinkedRoleCreationNotPermitted: an account's first spot machine
}
"""What a code means that only begins so."""

SDK: Final[Mapping[str, type[BackendError]]] = {
    # No connection came about.
    "EndpointConnectionError": TransientError,
    "ConnectTimeoutError": TransientError,
    "ProxyConnectionError": TransientError,
    # The request was on its way.
    "HTTPClientError": UnknownOutcomeError,
    "SSLError": UnknownOutcomeError,
    "ConnectionError": UnknownOutcomeError,
    "IncompleteReadError": UnknownOutcomeError,
    "ResponseParserError": UnknownOutcomeError,
    "ChecksumError": UnknownOutcomeError,
    "FlexibleChecksumError": UnknownOutcomeError,
    # Nothing to sign with.
    "NoCredentialsError": BackendAuthError,
    "PartialCredentialsError": BackendAuthError,
    "CredentialRetrievalError": BackendAuthError,
    "UnknownCredentialError": BackendAuthError,
    "NoAuthTokenError": BackendAuthError,
    "TokenRetrievalError": BackendAuthError,
    "UnknownTokenProviderError": BackendAuthError,
    "RefreshWithMFAUnsupportedError": BackendAuthError,
    "ProfileNotFound": BackendAuthError,
    "MetadataRetrievalError": BackendAuthError,
    "SSOError": BackendAuthError,
    "LoginError": BackendAuthError,
    "InfiniteLoopConfigError": BackendAuthError,
    # Refused by the SDK itself, before anything is sent.
    "ParamValidationError": InvalidRequestError,
    "MissingParametersError": InvalidRequestError,
    "ValidationError": InvalidRequestError,
    "UnknownRegionError": InvalidRequestError,
    "ServiceNotInRegionError": InvalidRequestError,
    "BaseEndpointResolverError": InvalidRequestError,
    "EndpointProviderError": InvalidRequestError,
    "InvalidDNSNameError": InvalidRequestError,
    "InvalidHostLabelError": InvalidRequestError,
}
"""Exceptions of botocore by the name of the class or of its nearest base here; any other is one of the SDK's own making
and leaves a launch open, as everything does that nobody foresaw."""


WORDS: Final = 300
"""Characters of a message that are kept. A refusal of rights comes with a kilobyte that only AWS can decode."""

_RETRIES: Final = re.compile(r" \(reached max retries: \d+\)")


def refusal(error: Exception) -> BackendError:
    """Turn the failure of a call that makes no machine into its class: what is not known is transient."""
    return _classify(error, otherwise=TransientError)


def launch_failure(error: Exception) -> BackendError:
    """Turn the failure of `RunInstances` into its class: what is not known may have made a machine."""
    return _classify(error, otherwise=UnknownOutcomeError)


def words(error: Exception) -> str:
    """What an error says, without the SDK's remark that it made no second try: it never makes one here."""
    return _RETRIES.sub("", str(error)) or type(error).__name__


def code(error: Exception) -> str:
    """The code of an answer of AWS; empty for a failure of another kind."""
    return _said(error, "Code")


def _said(error: Exception, field: str) -> str:
    response = getattr(error, "response", None)
    details = response.get("Error", {}) if isinstance(response, dict) else {}
    return str(details.get(field, ""))


def _classify(error: Exception, *, otherwise: type[BackendError]) -> BackendError:
    answered = code(error)
    if not answered:
        kind = next((SDK[base.__name__] for base in type(error).__mro__ if base.__name__ in SDK), UnknownOutcomeError)
        made = otherwise if kind is UnknownOutcomeError else kind
        return made(f"aws: {words(error)}")
    family = next((kind for start, kind in FAMILIES.items() if answered.startswith(start)), otherwise)
    kind = CODES.get(answered, family)
    asked = getattr(error, "operation_name", "")
    return kind(f"aws: {asked}: {answered}: {_said(error, 'Message')[:WORDS]}", provider_code=answered)
