"""What Azure's refusals mean. The code decides, and the HTTP status only where there is none that is known.

The SDK's exception says less than the code: `ResourceExistsError` is any 409, sold-out sizes among them.
Source: error codes of Azure Resource Manager and of Microsoft.Compute (common errors, allocation failures).
"""

from collections.abc import Mapping
from typing import Final

from chalicelib.domain.errors import (
    BackendAuthError,
    BackendError,
    BackendThrottledError,
    BalanceError,
    InvalidRequestError,
    NoCapacityError,
    QuotaError,
    TransientError,
)

CODES: Final[Mapping[str, type[BackendError]]] = {
    "SkuNotAvailable": NoCapacityError,
    "AllocationFailed": NoCapacityError,
    "ZonalAllocationFailed": NoCapacityError,
    "OverconstrainedAllocationRequest": NoCapacityError,
    "OverconstrainedZonalAllocationRequest": NoCapacityError,
    "QuotaExceeded": QuotaError,
    "PublicIPCountLimitReached": QuotaError,
    "ResourceCountExceedsLimitDueToTemplate": QuotaError,
    "InvalidParameter": InvalidRequestError,
    "InvalidRequestContent": InvalidRequestError,
    "InvalidRequestFormat": InvalidRequestError,
    "InvalidResourceReference": InvalidRequestError,
    "BadRequest": InvalidRequestError,
    "VMSizeNotSupported": InvalidRequestError,
    "ImageNotFound": InvalidRequestError,
    "PlatformImageNotFound": InvalidRequestError,
    "LocationNotAvailableForResourceType": InvalidRequestError,
    "NoRegisteredProviderFound": InvalidRequestError,
    "RequestDisallowedByPolicy": InvalidRequestError,
    "RequestDisallowedByAzure": InvalidRequestError,
    "AuthorizationFailed": BackendAuthError,
    "LinkedAuthorizationFailed": BackendAuthError,
    "AuthenticationFailed": BackendAuthError,
    "InvalidAuthenticationToken": BackendAuthError,
    "InvalidAuthenticationTokenTenant": BackendAuthError,
    "ExpiredAuthenticationToken": BackendAuthError,
    "SubscriptionNotFound": BackendAuthError,
    "InvalidSubscriptionId": BackendAuthError,
    "MissingSubscriptionRegistration": BackendAuthError,
    "ResourceGroupNotFound": BackendAuthError,
    "ReadOnlyDisabledSubscription": BalanceError,
    "TooManyRequests": BackendThrottledError,
    "SubscriptionRequestsThrottled": BackendThrottledError,
    "ServerBusy": TransientError,
}
"""Code -> class. Any other is odd, and an odd answer to a launch leaves its outcome open. What makes a whole account
useless (a missing resource group, a resource provider that is not registered) counts as `auth`, as the credentials do:
the backend is out, and somebody must know."""

GONE: Final = frozenset({"ResourceNotFound", "NotFound", "ResourceGroupNotFound"})
"""Codes of a 404 that say that a resource is not there. `SubscriptionNotFound` is a 404 too, and says nothing of it."""


def refusal(
    status: int, code: str, message: str, retry_after: str | None, *, otherwise: type[BackendError]
) -> BackendError:
    """Make the error that an answer means. `otherwise` is for an answer that nobody foresaw.

    `status` and `provider_code` are in its context, and `retry_after_s` when the provider gave it in seconds.
    """
    context: dict[str, object] = {"provider_code": code, "status": status}
    if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
        context["retry_after_s"] = int(retry_after)
    kind = _class(status, code, message, otherwise)
    return kind(f"azure: {status} {code}: {message}" if code else f"azure: {status} {message}", **context)


def failure(code: str, message: str) -> str:
    """The `kind` that an operation which failed after it was accepted means."""
    return _class(200, code, message, BackendError).kind


def _class(status: int, code: str, message: str, otherwise: type[BackendError]) -> type[BackendError]:
    if status == 429:
        return BackendThrottledError
    if code == "OperationNotAllowed" and "quota" in message.lower():
        # The same code says that a machine is being deleted; the quota is known by its words alone.
        return QuotaError
    if "hypervisor generation" in message.lower():
        return InvalidRequestError
    return CODES.get(code, BackendAuthError if status == 401 else otherwise)
