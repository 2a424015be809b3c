"""The driver of AWS EC2: one account, by role or by keys, in any number of regions.

What it leans on is written where it is used; prices and types are `offers`' work, and what is checked of a new account
`check`'s.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Lock
from typing import Any, Final, TypeVar

from chalicelib.backends.aws import check, machines, offers, request
from chalicelib.backends.aws.clients import PREPARE_SHARE, THREADS, Clients, raised
from chalicelib.backends.aws.errors import code, launch_failure, words
from chalicelib.backends.aws.images import Images
from chalicelib.backends.aws.network import Network
from chalicelib.backends.base import Account, Capabilities, Check, LaunchSpec, Machine, Part, Phase, Rate
from chalicelib.domain.errors import BackendError, TransientError, UnknownOutcomeError
from chalicelib.domain.model import Offer

T = TypeVar("T")

CAPABILITIES: Final = Capabilities(
    spot=True,
    cluster=True,
    call_timeout=timedelta(seconds=30),
    settles_within=timedelta(seconds=30),
    live_offers=False,
    launches=Rate(per_s=2, burst=5),
    notice="aws",
)
"""EC2 answers a look-up from what is eventually consistent: seconds, rarely more. `RunInstances` refills at 2 a second
for an account and region. Source: "Eventual consistency" and "Request throttling" in the EC2 developer guide."""

REMEMBERED: Final = 1000
"""How many of its launches a driver remembers the moment of."""

STALE: Final = ("InvalidAMIID.", "InvalidSubnetID.", "InvalidGroup.")
"""What begins the code of a launch that named something that is not there any more."""


class AwsBackend:
    """One account at AWS."""

    def __init__(self, account: Account, *, endpoint_url: str = "", capabilities: Capabilities = CAPABILITIES) -> None:
        self.name = account.name
        self.capabilities = capabilities
        self._regions: Sequence[str] = account.config["regions"]
        self._disk_gb: int = account.config["disk_gb"]
        self._remedies = check.ROLE if account.config.get("role_arn") else check.KEYS
        self._clients = Clients(
            account.config,
            account.credentials,
            endpoint_url=endpoint_url,
            call_timeout=capabilities.call_timeout,
            session_name=f"tidepool-{account.project}"[:64],
        )
        self._images = Images(self._clients, account.config.get("image", {}))
        self._network = Network(self._clients, account.config.get("subnets", {}))
        self._guard = Lock()
        self._made: OrderedDict[str, float] = OrderedDict()

    def check(self) -> Sequence[Check]:
        """Who the credentials are, and for each region network, image, right to launch and quota."""
        return check.checks(self._clients, self._images, self._network, self._regions, self._remedies)

    def offers(self, part: Part | None = None) -> Sequence[Offer]:
        """Everything on sale in the account's regions, zone by zone: for the catalog, because it takes minutes."""
        reach = offers.Reach(self._clients, self._network, part.is_over if part else lambda: False)
        regions = [part.region] if part else self._regions
        found = self._parallel(lambda each: offers.collect(reach, self.name, each, disk_gb=self._disk_gb), regions)
        return [offer for each in found for offer in each]

    def launch(self, spec: LaunchSpec) -> Machine:
        """Ask for one machine in the offer's zone. What has to be known first is looked up in a part of the time."""
        began = time.monotonic()
        offer = spec.offer
        self._clients.sign_in()
        image = self._images.of(offer)
        place = self._network.place(offer.region, offer.zone, owner=spec.owner, attempt_id=spec.attempt_id)
        body = request.run_instances(spec, image, place, disk_gb=self._disk_gb)
        client = self._clients.launching(offer.region)
        if time.monotonic() - began > PREPARE_SHARE * self.capabilities.call_timeout.total_seconds():
            # Asked for now, the machine could come after the moment from which a look-up counts as proof.
            raise TransientError("aws: too slow to begin a launch that must be over in time")
        made = self._asked(client, body, spec)
        self._remember(made.ref)
        return made

    def find(self, attempt_id: str, owner: str, region: str = "") -> Machine | None:
        """Look an attempt up in its region, or in every one, by its client token and by its tag.

        Both may lag behind a launch, each on its own: the token is a property of the instance, tags are an index
        beside it. A machine that either shows is there, and asking for both makes a miss less likely.
        """
        marked, failures = self._marked(attempt_id, owner, [region] if region else self._regions)
        live = next((each for each in marked if each.phase is not Phase.GONE), None)
        if live is None and failures:
            raise failures[0]
        return live

    def describe(self, ref: str) -> Machine:
        """Report one machine; a spot machine that got notice says so.

        One that was made a moment ago may not be known yet: then it is starting, for as long as EC2 may lag.
        """
        place = machines.place(ref)
        rows = self._instances(*place) if place else []
        if place and rows:
            return machines.machine(place[0], rows[0], spot_status=self._spot_status(place[0], rows[0]))
        return Machine(ref=ref, attempt_id="", phase=Phase.STARTING if self._is_young(ref) else Phase.GONE)

    def terminate(self, ref: str) -> None:
        """Ask for the end of one machine. One that EC2 may merely not know yet is not taken for gone."""
        from botocore.exceptions import ClientError

        place = machines.place(ref)
        if place is None:
            return
        region, instance_id = place
        with raised():
            try:
                self._clients.of("ec2", region).terminate_instances(InstanceIds=[instance_id])
            except ClientError as error:
                if not code(error).startswith("InvalidInstanceID."):
                    raise
                if self._is_young(ref):
                    raise TransientError(f"aws: {instance_id} was just made and cannot be ended yet") from error

    def owned(self, owner: str) -> Iterator[Machine]:
        """Every live machine with the owner's tag in the account's regions, then the error of one that did not say."""
        wanted = [_filter(f"tag:{machines.OWNER_TAG}", owner), _filter("instance-state-name", *machines.LIVE)]
        found, failures = self._listed_all([(region, wanted) for region in self._regions])
        yield from found
        if failures:
            raise failures[0]

    def _asked(self, client: Any, body: Mapping[str, Any], spec: LaunchSpec) -> Machine:
        """Send the one request that may make a machine."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            answer = client.run_instances(**body)
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            if code(error).startswith(STALE):
                self._images.forget(spec.offer.region)
                self._network.forget(spec.offer.region)
            if code(error).startswith("Idempotent"):
                return self._made_before(spec, error)
            raise launch_failure(error) from error
        try:
            return machines.machine(spec.offer.region, answer["Instances"][0])
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise UnknownOutcomeError(f"aws: an answer that is not understood: {error!r}") from error

    def _made_before(self, spec: LaunchSpec, error: Exception) -> Machine:
        """The machine that this attempt's token already made: asked for in other words, or ended since.

        `IdempotentParameterMismatch`: an earlier request of this attempt was taken, with another image or user data.
        `IdempotentInstanceTerminated`: it was, and its machine is gone; EC2 shows such a machine for about an hour.
        """
        marked, failures = self._marked(spec.attempt_id, spec.owner, [spec.offer.region])
        if not marked and failures:
            raise UnknownOutcomeError(f"aws: {spec.attempt_id} was made before, but: {failures[0].detail}") from error
        if not marked:
            raise UnknownOutcomeError(f"aws: {words(error)}") from error
        return marked[0]

    def _marked(self, attempt_id: str, owner: str, regions: Sequence[str]) -> tuple[list[Machine], list[BackendError]]:
        """What the two marks of an attempt lead to, live machines first, and what could not be asked.

        A token is the owner's own; tags may lag.
        """
        by_token = [_filter("client-token", request.client_token(attempt_id, owner))]
        by_tag = [_filter(f"tag:{machines.ATTEMPT_TAG}", attempt_id), _filter(f"tag:{machines.OWNER_TAG}", owner)]
        found, failures = self._listed_all([(region, wanted) for region in regions for wanted in (by_token, by_tag)])
        marked = [replace(each, attempt_id=attempt_id) for each in found]
        return sorted(marked, key=lambda machine: machine.phase is Phase.GONE), failures

    def _listed_all(
        self, questions: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]
    ) -> tuple[list[Machine], list[BackendError]]:
        """The answers of all that answered, and the errors of the others."""

        def ask(question: tuple[str, Sequence[Mapping[str, Any]]]) -> list[Machine] | BackendError:
            try:
                return self._listed(*question)
            except BackendError as error:
                return error

        answers = self._parallel(ask, questions)
        failures = [each for each in answers if isinstance(each, BackendError)]
        return [machine for each in answers if not isinstance(each, BackendError) for machine in each], failures

    def _listed(self, region: str, wanted: Sequence[Mapping[str, Any]]) -> list[Machine]:
        with raised():
            pages = self._clients.of("ec2", region).get_paginator("describe_instances")
            rows = [
                row
                for page in pages.paginate(Filters=wanted, PaginationConfig={"PageSize": 500})
                for reservation in page["Reservations"]
                for row in reservation["Instances"]
            ]
            return [machines.machine(region, row) for row in rows]

    def _instances(self, region: str, instance_id: str) -> list[Mapping[str, Any]]:
        """The rows of one instance: one, or none when EC2 does not know it."""
        from botocore.exceptions import ClientError

        with raised():
            try:
                answer = self._clients.of("ec2", region).describe_instances(InstanceIds=[instance_id])
            except ClientError as error:
                if code(error).startswith("InvalidInstanceID."):
                    return []
                raise
            return [row for reservation in answer["Reservations"] for row in reservation["Instances"]]

    def _spot_status(self, region: str, row: Mapping[str, Any]) -> str:
        """The status of a live machine's spot request; empty for other machines and for a request not yet known."""
        from botocore.exceptions import ClientError

        asked = row.get("SpotInstanceRequestId")
        if not asked or machines.PHASES[row["State"]["Name"]] is Phase.GONE:
            return ""
        with raised():
            try:
                answer = self._clients.of("ec2", region).describe_spot_instance_requests(SpotInstanceRequestIds=[asked])
            except ClientError as error:
                if code(error).startswith("InvalidSpotInstanceRequestID."):
                    return ""
                raise
            return str(answer["SpotInstanceRequests"][0]["Status"]["Code"]) if answer["SpotInstanceRequests"] else ""

    def _parallel(self, ask: Callable[[Any], T], questions: Sequence[Any]) -> list[T]:
        if len(questions) == 1:
            return [ask(questions[0])]
        with ThreadPoolExecutor(min(THREADS, len(questions))) as pool:
            return list(pool.map(ask, questions))

    def _remember(self, ref: str) -> None:
        with self._guard:
            self._made[ref] = time.monotonic()
            while len(self._made) > REMEMBERED:
                self._made.popitem(last=False)

    def _is_young(self, ref: str) -> bool:
        with self._guard:
            made_at = self._made.get(ref)
        return made_at is not None and time.monotonic() - made_at < self.capabilities.settles_within.total_seconds()


def _filter(name: str, *values: str) -> dict[str, Any]:
    return {"Name": name, "Values": list(values)}
