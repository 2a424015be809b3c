"""The Python client of tidepool.

    import tidepool

    client = tidepool.Client.from_environment()
    with client.lease(requirements={"gpu": "80GB"}) as lease:
        print(lease.instance["name"])

Names are loaded on first use, so that a short command does not pay for what it does not touch.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tidepool.client import Client
    from tidepool.errors import (
        AuthError,
        BusyError,
        ConflictError,
        ConnectionLostError,
        InputError,
        LeaseLost,
        NoMatchError,
        NoOffersError,
        NotFoundError,
        ProvisioningFailedError,
        TidepoolError,
        UnavailableError,
    )

__version__ = "0.1.0"
__all__ = [
    "AuthError",
    "BusyError",
    "Client",
    "ConflictError",
    "ConnectionLostError",
    "InputError",
    "LeaseLost",
    "NoMatchError",
    "NoOffersError",
    "NotFoundError",
    "ProvisioningFailedError",
    "TidepoolError",
    "UnavailableError",
]


def __getattr__(name: str) -> object:
    if name == "Client":
        from tidepool.client import Client

        return Client
    if name in __all__:
        from tidepool import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
