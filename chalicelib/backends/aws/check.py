"""Whether machines can be rented in an account: what is asked, what was found, and what to do about it."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from chalicelib.backends.aws import request
from chalicelib.backends.aws.clients import Clients, raised
from chalicelib.backends.aws.errors import code
from chalicelib.backends.aws.images import Images
from chalicelib.backends.aws.network import Network
from chalicelib.backends.aws.offers import PRICES_REGION
from chalicelib.backends.aws.request import Place
from chalicelib.backends.base import Check, LaunchSpec
from chalicelib.domain.errors import BackendError, BackendThrottledError, TransientError
from chalicelib.domain.model import Offer, Resources

QUOTAS: Final = {
    "standard": "L-1216C47A",
    "G and VT": "L-DB2E81BA",
    "P": "L-417A185B",
    "standard spot": "L-34B43A08",
    "G and VT spot": "L-3819A6DF",
}
"""vCPUs that may run at once, by family. Source: Service Quotas, "Amazon Elastic Compute Cloud (Amazon EC2)"."""

CHEAP: Final = Offer("", "", "t3.micro", Resources(cpus=2, memory_mib=1024, disk_mib=0), spot=False, price=1)
"""What the dry run asks for: a type that every region has."""


@dataclass(frozen=True, slots=True)
class Remedies:
    """What to do when the credentials are refused, and when they lack a right."""

    credentials: str
    rights: str


ROLE: Final = Remedies(
    "create the role and its policy as in docs/backends.md and name its ARN in config.role_arn",
    "give the role the policy of docs/backends.md",
)
KEYS: Final = Remedies(
    "give the id and the secret of an access key that is active: aws iam list-access-keys shows a user's",
    "give the user of the access key the policy of docs/backends.md",
)


def checks(
    clients: Clients, images: Images, network: Network, regions: Sequence[str], remedies: Remedies
) -> list[Check]:
    """Every check of an account. Without an identity the others would only say the same once more."""
    who = _identity(clients, regions[0], remedies.credentials)
    if not who.ok:
        return [who]
    found = [who, _checked("prices", lambda: _prices(clients), remedies.rights)]

    def of(region: str) -> list[Check]:
        return [
            _checked(f"network {region}", lambda: _network(network, region), remedies.rights),
            _checked(f"launch {region}", lambda: _dry_run(clients, images, network, region), remedies.rights),
            _checked(f"quota {region}", lambda: _quota(clients, region), remedies.rights),
        ]

    with ThreadPoolExecutor(min(8, len(regions))) as pool:
        return [*found, *(each for one in pool.map(of, regions) for each in one)]


def _checked(name: str, ask: Callable[[], tuple[bool, str, str]], fix: str) -> Check:
    """Make one check. A refusal is its result; what says nothing of the account goes on to the caller."""
    try:
        ok, detail, remedy = ask()
    except (TransientError, BackendThrottledError):
        raise
    except BackendError as error:
        return Check(name, ok=False, detail=error.detail, fix=fix)
    return Check(name, ok, detail, remedy)


def _identity(clients: Clients, region: str, fix: str) -> Check:
    """Ask whose the credentials are. Every identity may ask that, whatever its rights."""
    try:
        with raised():
            caller = clients.of("sts", region).get_caller_identity()
            return Check("credentials", ok=True, detail=str(caller["Arn"]), account=str(caller["Account"]))
    except (TransientError, BackendThrottledError):
        raise
    except BackendError as error:
        return Check("credentials", ok=False, detail=error.detail, fix=fix)


def _prices(clients: Clients) -> tuple[bool, str, str]:
    with raised():
        clients.of("pricing", PRICES_REGION).get_products(ServiceCode="AmazonEC2", MaxResults=1)
    return True, "the price list can be read", ""


def _network(network: Network, region: str) -> tuple[bool, str, str]:
    zones = sorted({subnet.zone for subnet in network.subnets(region)})
    if not zones:
        fix = f"aws ec2 create-default-vpc --region {region}, or name subnets in config.subnets.{region}"
        return False, "there is no default network", fix
    return True, "subnets in " + ", ".join(zones), ""


def _dry_run(clients: Clients, images: Images, network: Network, region: str) -> tuple[bool, str, str]:
    """Ask EC2 whether it would launch: a dry run makes nothing, and its good answers are errors.

    Rights come first: a type that this zone lacks was allowed as well.
    """
    from botocore.exceptions import ClientError

    subnets = network.subnets(region)
    if not subnets:
        return False, "without a network nothing can be launched", f"see the check network {region}"
    image = images.image(region, "x86_64", gpu=False)
    spec = LaunchSpec("check", "check", CHEAP, "true")
    body = request.run_instances(spec, image, Place(subnets[0].subnet_id, group=""), disk_gb=1)
    with raised():
        try:
            clients.of("ec2", region).run_instances(DryRun=True, **body)
        except ClientError as error:
            if code(error) not in ("DryRunOperation", "Unsupported"):
                raise
    return True, f"machines may be launched from {image.image_id}", ""


def _quota(clients: Clients, region: str) -> tuple[bool, str, str]:
    quotas = clients.of("service-quotas", region)
    with raised():
        allowed = {family: _value(quotas, quota) for family, quota in QUOTAS.items()}
    detail = "vCPUs: " + ", ".join(f"{family} {value:g}" for family, value in allowed.items())
    fix = f"ask for more under Service Quotas, Amazon EC2, in {region}" if not all(allowed.values()) else ""
    return any(allowed.values()), detail, fix


def _value(quotas: Any, quota: str) -> float:
    return float(quotas.get_service_quota(ServiceCode="ec2", QuotaCode=quota)["Quota"]["Value"])
