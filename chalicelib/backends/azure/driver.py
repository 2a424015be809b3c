"""The driver of Microsoft Azure. A launch is one PUT under the attempt's name, and ends when Azure has accepted it.

What becomes of it is read from the machine itself: an allocation that fails later leaves a machine in state `Failed`,
whose `Machine.failure` says so. A machine taken back from the spot market is deleted with all its parts, and gone.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from chalicelib.backends.azure import body, checks, machines, offers, prices
from chalicelib.backends.azure.errors import GONE
from chalicelib.backends.azure.token import Tokens
from chalicelib.backends.base import Account, Capabilities, Check, LaunchSpec, Machine, Part, Phase, Rate
from chalicelib.backends.http import Endpoint
from chalicelib.domain.errors import BackendError, TransientError, UnknownOutcomeError
from chalicelib.domain.model import Offer

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient

ARM: Final = "https://management.azure.com"
LOGIN: Final = "https://login.microsoftonline.com"
PRICES: Final = "https://prices.azure.com/api/retail/prices"

CAPABILITIES: Final = Capabilities(
    spot=True,
    cluster=True,
    ready_within=timedelta(minutes=15),
    look_every=timedelta(seconds=60),
    call_timeout=timedelta(seconds=20),
    settles_within=timedelta(seconds=15),
    live_offers=False,
    launches=Rate(per_s=10, burst=200),
    notice="azure",
)
"""`launches` is Resource Manager's limit of writes for one principal, subscription and region; `settles_within` is for
its caches, which may be asked in another place than the one that took the PUT."""


class AzureBackend:
    """One subscription and resource group. `account.config` is what `config.parse` returns.

    `endpoint_url` replaces Azure in rehearsals, and is the only way to anything but HTTPS.
    """

    def __init__(
        self, account: Account, *, owner: str, endpoint_url: str = "", capabilities: Capabilities = CAPABILITIES
    ) -> None:
        self.name = account.name
        self.capabilities = capabilities
        self._owner = owner
        self._config = account.config
        self._arm = endpoint_url or ARM
        login = f"{endpoint_url}/login" if endpoint_url else LOGIN
        limit_s = capabilities.call_timeout.total_seconds()
        self._prices = Endpoint(f"{endpoint_url}/prices" if endpoint_url else PRICES, {}, limit_s)
        self._tokens = Tokens(
            f"{login}/{self._config['tenant_id']}/oauth2/v2.0/token",
            self._config["client_id"],
            account.credentials["client_secret"],
        )

    def check(self) -> Sequence[Check]:
        """The credentials, the resource group, and of each region its network (made when it is missing) and quota."""
        tags = {body.OWNER_TAG: self._owner}
        return checks.run(self._client, self._tokens, self._config, tags, self._deadline)

    def offers(self, part: Part | None = None) -> Sequence[Offer]:
        """Everything that this subscription may rent in its regions. A minute and more each: it reads all prices."""
        parts = [part] if part else [Part(region, lambda: False) for region in self._config["regions"]]
        return [offer for each in parts for offer in self._offers_of(each)]

    def launch(self, spec: LaunchSpec) -> Machine:
        """Start a machine, or return the one that has the attempt's name already."""
        from azure.core import MatchConditions

        from chalicelib.backends.azure.client import answers, raw

        content: Any = body.machine(spec, self._config)  # the JSON itself, where the SDK would have its models
        where = self._place(spec.attempt_id)
        deadline = self._deadline()
        try:
            with answers(UnknownOutcomeError):
                made: Any = self._client.virtual_machines.begin_create_or_update(
                    where.group,
                    where.name,
                    content,
                    match_condition=MatchConditions.IfMissing,
                    polling=False,
                    cls=raw,
                    deadline=deadline,
                )
                return machines.machine(made.result(), where)
        except UnknownOutcomeError as error:
            if error.context.get("status") != 412:
                raise
        return self._already_made(spec, deadline)

    def find(self, attempt_id: str, owner: str, region: str = "") -> Machine | None:  # noqa: ARG002 - the protocol's
        """Look up the machine that has an attempt's name, if it is the owner's. A name is unique in its group."""
        return self._found(attempt_id, owner, self._deadline())

    def describe(self, ref: str) -> Machine:
        """Report one machine. Only one that Azure does not know is gone: a stopped one costs."""
        where = machines.place(ref)
        row = self._row(where, self._deadline()) if where else None
        if where is None or row is None:
            return Machine(ref=ref, attempt_id="", phase=Phase.GONE)
        return _read(row, where)

    def terminate(self, ref: str) -> None:
        """Delete one machine, and its parts with it, without the minutes that a shutdown may take."""
        from chalicelib.backends.azure.client import answers

        where = machines.place(ref)
        if where is None:
            return
        try:
            with answers(TransientError):
                self._of(where).virtual_machines.begin_delete(
                    where.group, where.name, force_deletion=True, polling=False, deadline=self._deadline()
                )
        except BackendError as error:
            if not _is_gone(error):
                raise

    def owned(self, owner: str) -> Iterator[Machine]:
        """Every machine of the resource group with the owner's tag."""
        from chalicelib.backends.azure.client import answers

        group, deadline = self._config["resource_group"], self._deadline()
        with answers(TransientError):
            rows: list[Any] = list(self._client.virtual_machines.list(group, deadline=deadline))
            mine = [row for row in rows if machines.tags(row).get(body.OWNER_TAG) == owner]
            found = [machines.machine(row, self._named(str(row["name"]))) for row in mine]
        return iter(found)

    @cached_property
    def _client(self) -> "ComputeManagementClient":
        from chalicelib.backends.azure import client

        return client.make(self._config["subscription_id"], self._arm, self._tokens)

    def _of(self, where: machines.Place) -> "ComputeManagementClient":
        """The client for a machine, which may be of a subscription that the account had before."""
        from chalicelib.backends.azure import client

        if where.subscription == self._config["subscription_id"]:
            return self._client
        return client.make(where.subscription, self._arm, self._tokens)

    def _offers_of(self, part: Part) -> Iterator[Offer]:
        from chalicelib.backends.azure.client import answers

        region = part.region
        with answers(TransientError):
            wanted = f"location eq '{region}'"
            skus: list[Any] = list(self._client.resource_skus.list(filter=wanted, deadline=self._deadline()))
            limits = checks.quotas(self._client, region, self._deadline())
            priced = prices.of_region(self._prices, region, part.is_over)
            sold = {family: usage.limit for family, usage in limits.items()}
            found = list(offers.of_region(self.name, region, self._config, skus, priced, sold))
        return iter(found)

    def _already_made(self, spec: LaunchSpec, deadline: float) -> Machine:
        """The machine that has the attempt's name. It may have ended since it was in the way: then nobody can say."""
        try:
            found = self._found(spec.attempt_id, spec.owner, deadline)
        except BackendError as error:
            raise UnknownOutcomeError(f"{spec.attempt_id!r} was made before, but: {error.detail}") from error
        if found is None:
            raise UnknownOutcomeError(f"the name {spec.attempt_id!r} is taken by a machine that cannot be found")
        return found

    def _found(self, attempt_id: str, owner: str, deadline: float) -> Machine | None:
        where = self._place(attempt_id)
        row = self._row(where, deadline)
        if row is None or machines.tags(row).get(body.OWNER_TAG) != owner:
            return None
        machine = _read(row, where)
        return machine if machine.attempt_id == attempt_id else None

    def _row(self, where: machines.Place, deadline: float) -> Mapping[str, Any] | None:
        """A virtual machine with the view of its instance; None for one that Azure does not know."""
        from chalicelib.backends.azure.client import answers, raw

        try:
            with answers(TransientError):
                row: Any = self._of(where).virtual_machines.get(
                    where.group, where.name, expand="instanceView", cls=raw, deadline=deadline
                )
                if row["name"].lower() != where.name:  # an answer without tags must not pass for a stranger's machine
                    raise ValueError(f"{row['name']} was not asked for")
                return dict(row)
        except BackendError as error:
            if _is_gone(error):
                return None
            raise

    def _place(self, attempt_id: str) -> machines.Place:
        return self._named(body.machine_name(attempt_id))

    def _named(self, name: str) -> machines.Place:
        return machines.Place(self._config["subscription_id"], self._config["resource_group"], name.lower())

    def _deadline(self) -> float:
        return time.monotonic() + self.capabilities.call_timeout.total_seconds()


def _is_gone(error: BackendError) -> bool:
    return error.context.get("status") == 404 and error.context.get("provider_code") in GONE


def _read(row: Mapping[str, Any], where: machines.Place) -> Machine:
    from chalicelib.backends.azure.client import answers

    with answers(TransientError):
        return machines.machine(row, where)
