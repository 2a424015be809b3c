"""The driver of the local cloud (`infra/local/cloud`), over the HTTP API of docs/architecture.md section 7.

The provider knows a machine by a name that is unique among live machines and by its tags; the name is the attempt id.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from chalicelib.backends.base import Capabilities, Check, LaunchSpec, Machine, Part, Phase
from chalicelib.backends.http import Answer, Endpoint
from chalicelib.domain.errors import (
    BackendAuthError,
    BackendError,
    BackendThrottledError,
    BalanceError,
    InvalidRequestError,
    NoCapacityError,
    QuotaError,
    TransientError,
    UnknownOutcomeError,
)
from chalicelib.domain.model import Gpu, Offer, Resources

T = TypeVar("T")

OWNER_TAG: Final = "tidepool-owner"
ATTEMPT_TAG: Final = "tidepool-attempt"

ERRORS: Final[Mapping[str, type[BackendError]]] = {
    "no-capacity": NoCapacityError,
    "quota": QuotaError,
    "balance": BalanceError,
    "bad-key": BackendAuthError,
    "throttled": BackendThrottledError,
    "unavailable": TransientError,
    "unknown-type": InvalidRequestError,
    "invalid-request": InvalidRequestError,
    "malformed-body": InvalidRequestError,
    "body-too-large": InvalidRequestError,
    "unknown-route": InvalidRequestError,
    "method-not-allowed": InvalidRequestError,
}
"""What each code of the provider means. Any other answer is odd, and an odd one to a launch leaves its outcome open."""

CAPABILITIES: Final = Capabilities(
    spot=True, cluster=True, simulated=True, call_timeout=timedelta(seconds=10), notice="file"
)


class LocalBackend:
    """One local cloud."""

    def __init__(self, url: str, key: str, *, name: str = "local", capabilities: Capabilities = CAPABILITIES) -> None:
        self.name = name
        self.capabilities = capabilities
        headers = {"Authorization": f"Bearer {key}"}
        self._endpoint = Endpoint(url, headers, capabilities.call_timeout.total_seconds())

    def check(self) -> Sequence[Check]:
        """Whether the local cloud answers to this key."""
        try:
            self._read("/types")
        except BackendAuthError as error:
            return [Check("credentials", ok=False, detail=error.detail, fix="restart the control plane: make up")]
        return [Check("credentials", ok=True, detail="the local cloud accepts the key")]

    def offers(self, part: Part | None = None) -> Sequence[Offer]:  # noqa: ARG002 - the protocol's signature
        """Everything that could be rented now: a type sold as spot gives two offers."""
        rows = _field(self._read("/types"), "types")
        return [offer for row in rows for offer in _understood(partial(_offers, self.name), row)]

    def launch(self, spec: LaunchSpec) -> Machine:
        """Start a machine, or return the live one that has the attempt's name already."""
        body = {
            "name": spec.attempt_id,
            "type": spec.offer.instance_type,
            "region": spec.offer.region,
            "zone": spec.offer.zone,
            "spot": spec.offer.spot,
            "user_data": spec.user_data,
            "tags": {**spec.tags, ATTEMPT_TAG: spec.attempt_id, OWNER_TAG: spec.owner},
        }
        answer = self._endpoint.call("POST", "/machines", body)
        if answer.status == 201:
            return self._made(answer)
        if _code(answer) == "name-taken":
            return self._already_made(spec)
        raise _error(answer, otherwise=UnknownOutcomeError)

    def find(self, attempt_id: str, owner: str, region: str = "") -> Machine | None:  # noqa: ARG002 - the protocol's
        """Look up the live machine of an attempt."""
        made = self._tagged(ATTEMPT_TAG, attempt_id, owner=owner)
        return next(made, None)

    def describe(self, ref: str) -> Machine:
        """Report one machine; an unknown one is gone."""
        answer = self._ask("GET", f"/machines/{quote(ref, safe='')}")
        if _is_unknown(answer):
            return Machine(ref=ref, attempt_id="", phase=Phase.GONE)
        if answer.status != 200:
            raise _error(answer, otherwise=TransientError)
        return _understood(_machine, answer.body)

    def terminate(self, ref: str) -> None:
        """Ask for the end of one machine; a machine that is gone or unknown needs none."""
        answer = self._ask("DELETE", f"/machines/{quote(ref, safe='')}")
        if answer.status == 202 or _is_unknown(answer):
            return
        raise _error(answer, otherwise=TransientError)

    def owned(self, owner: str) -> Iterator[Machine]:
        """Every live machine with the owner's tag."""
        return self._tagged(OWNER_TAG, owner, owner=owner)

    def _made(self, answer: Answer) -> Machine:
        """The machine of a 201. One that cannot be read is there all the same."""
        try:
            return _understood(_machine, answer.body)
        except TransientError as error:
            raise UnknownOutcomeError(error.detail) from error

    def _already_made(self, spec: LaunchSpec) -> Machine:
        """The machine that has the attempt's name. It may have ended since it was in the way: then nobody can say."""
        try:
            found = self.find(spec.attempt_id, spec.owner)
        except BackendError as error:
            raise UnknownOutcomeError(f"{spec.attempt_id!r} was made before, but: {error.detail}") from error
        if found is None:
            raise UnknownOutcomeError(f"the name {spec.attempt_id!r} is taken by a machine that cannot be found")
        return found

    def _tagged(self, tag: str, value: str, *, owner: str) -> Iterator[Machine]:
        """The live machines of `owner` that carry one tag."""
        rows = _field(self._read("/machines?" + urlencode({"tag": f"{tag}:{value}"})), "machines")
        for row in rows:
            machine = _understood(_machine, row)
            if machine.phase is not Phase.GONE and row["tags"].get(OWNER_TAG) == owner:
                yield machine

    def _read(self, path: str) -> Answer:
        answer = self._ask("GET", path)
        if answer.status != 200:
            raise _error(answer, otherwise=TransientError)
        return answer

    def _ask(self, method: str, path: str) -> Answer:
        """Make a call that may be repeated without harm: then a missing answer leaves nothing open."""
        try:
            return self._endpoint.call(method, path)
        except UnknownOutcomeError as error:
            raise TransientError(error.detail) from error


def _code(answer: Answer) -> str:
    """The provider's error code; empty when the answer is not in its format."""
    try:
        return str(answer.body["error"]["code"])
    except (KeyError, TypeError):
        return ""


def _is_unknown(answer: Answer) -> bool:
    """Whether the provider does not know the machine. A reference that is none of its ids leads to no route."""
    return answer.status == 404 and _code(answer) in ("unknown-machine", "unknown-route")


def _error(answer: Answer, *, otherwise: type[BackendError]) -> BackendError:
    code = _code(answer)
    words = str(answer.body["error"].get("message", code)) if code else answer.text
    return ERRORS.get(code, otherwise)(f"local cloud: {answer.status} {words}", provider_code=code)


def _field(answer: Answer, name: str) -> list[dict[str, Any]]:
    rows = answer.body.get(name) if isinstance(answer.body, dict) else None
    if not isinstance(rows, list):
        raise TransientError(f"local cloud: an answer without {name!r}: {answer.text}")
    return rows


def _understood(read: Callable[[dict[str, Any]], T], row: dict[str, Any]) -> T:
    """Read one row, or say which one cannot be read."""
    try:
        return read(row)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise TransientError(f"local cloud: a row that is not understood: {row!r}") from error


def _machine(row: dict[str, Any]) -> Machine:
    launched_at = row["launched_at"]
    return Machine(
        ref=row["id"],
        attempt_id=row["tags"].get(ATTEMPT_TAG, ""),
        phase=Phase(row["phase"]),
        launched_at=datetime.fromisoformat(launched_at) if launched_at else None,
        address=row["address"],
        interrupted=row["interrupted_at"] is not None,
    )


def _offers(backend: str, row: dict[str, Any]) -> list[Offer]:
    """The on-demand offer of one type, and the spot offer where it is sold as spot."""
    gpu = row["gpu"]
    resources = Resources(
        cpus=row["cpus"],
        memory_mib=row["memory_mib"],
        disk_mib=row["disk_mib"],
        gpus=(Gpu(gpu["name"], gpu["memory_mib"], gpu["count"]),) if gpu else (),
    )
    prices = ((False, row["price_micros"]), (True, row["spot_price_micros"]))
    return [
        Offer(
            backend=backend,
            region=row["region"],
            zone=row["zone"],
            instance_type=row["name"],
            resources=resources,
            spot=spot,
            price=price,
            price_source=row.get("price_source", "simulated"),
            availability="available",
        )
        for spot, price in prices
        if price is not None
    ]
