"""Whether machines can be rented with an account, and what of its network has to be made once."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from chalicelib.backends.azure import network
from chalicelib.backends.azure.token import Tokens
from chalicelib.backends.base import Check
from chalicelib.domain.errors import BackendError, BackendThrottledError, TransientError

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient

GROUP_VERSION: Final = "2021-04-01"
ROLE: Final = "give the app registration the role Contributor on the resource group"
REGISTER: Final = "register the resource providers Microsoft.Compute and Microsoft.Network in the subscription"


@dataclass(frozen=True, slots=True)
class Usage:
    """How many CPUs of one family are in use, and how many may be."""

    used: int
    limit: int


def run(
    client: "ComputeManagementClient",
    tokens: Tokens,
    config: Mapping[str, Any],
    tags: Mapping[str, str],
    deadline: Callable[[], float],
) -> list[Check]:
    """Make every check that can be made: without a token none of the others, without a resource group no network."""
    fix = "make a new client secret in the app registration, and check tenant_id and client_id"
    found = [_attempt("credentials", fix, lambda: _login(tokens, deadline()))]
    if not found[0].ok:
        return found
    group = network.group_id(config)
    create = f"make the resource group {config['resource_group']!r} in this subscription, or {ROLE}"
    found.append(_attempt("resource-group", create, lambda: _group(client, group, deadline())))
    for region in config["regions"]:
        if found[1].ok:
            name, fix = f"network/{region}", f"{ROLE}; {REGISTER}"
            found.append(_attempt(name, fix, lambda at=region: _network(client, config, at, tags, deadline)))  # type: ignore[misc]
        found.append(_quota(client, region, deadline()))
    return found


def quotas(client: "ComputeManagementClient", region: str, deadline: float) -> dict[str, Usage]:
    """The quota of CPUs in a region, by family; `cores` is all on demand, `lowPriorityCores` all spot."""
    rows: Iterator[Any] = client.usage.list(region, deadline=deadline)
    found = {str(row["name"]["value"]): Usage(int(row["currentValue"]), int(row["limit"])) for row in rows}
    return {family: usage for family, usage in found.items() if usage.limit >= 0}  # -1: without a limit


def _attempt(name: str, fix: str, find_out: Callable[[], str]) -> Check:
    """One check. What says nothing of the account is raised, all other refusals are its result."""
    from chalicelib.backends.azure.client import answers

    try:
        with answers(TransientError):
            return Check(name, ok=True, detail=find_out())
    except BackendError as error:
        refused = 400 <= int(error.context.get("status", 500)) < 500
        if isinstance(error, BackendThrottledError) or (isinstance(error, TransientError) and not refused):
            raise
        return Check(name, ok=False, detail=error.detail, fix=fix)


def _login(tokens: Tokens, deadline: float) -> str:
    tokens.current(deadline=deadline)
    return "the app registration accepts the client secret"


def _group(client: "ComputeManagementClient", group: str, deadline: float) -> str:
    answer = _ask(client, "GET", group, GROUP_VERSION, deadline)
    answer.raise_for_status()
    return f"{group} is there"


def _network(
    client: "ComputeManagementClient",
    config: Mapping[str, Any],
    region: str,
    tags: Mapping[str, str],
    deadline: Callable[[], float],
) -> str:
    """Look at the network of a region, and make what is missing. What is there is left as somebody may have set it."""
    chosen = config["subnets"].get(region)
    if chosen:
        _ask(client, "GET", chosen, network.API_VERSION, deadline()).raise_for_status()
        return f"the subnet {chosen} is there"
    made = []
    for resource, body in network.parts(config, region, tags):
        answer = _ask(client, "GET", resource, network.API_VERSION, deadline())
        if answer.status_code == 404:
            answer = _ask(client, "PUT", resource, network.API_VERSION, deadline(), body)
            made.append(resource.rpartition("/")[2])
        answer.raise_for_status()
    return f"{network.subnet_id(config, region)} {'was made' if made else 'is there'}"


def _quota(client: "ComputeManagementClient", region: str, deadline: float) -> Check:
    """How many CPUs may still be rented. None at all is what a new subscription has of most families."""
    name, fix = f"quota/{region}", f"ask for a higher quota of CPUs in {region}, in the portal under Quotas"
    left: dict[str, int] = {}

    def find_out() -> str:
        usages = quotas(client, region, deadline)
        for kind, words in (("cores", "on demand"), ("lowPriorityCores", "spot")):
            if kind in usages:
                left[words] = usages[kind].limit - usages[kind].used
        return ", ".join(f"{count} CPUs left {words}" for words, count in left.items()) or "no limit is known"

    check = _attempt(name, f"{ROLE}, and Reader on the subscription; {REGISTER}", find_out)
    if check.ok and left and max(left.values()) <= 0:
        return Check(name, ok=False, detail=check.detail, fix=fix)
    return check


def _ask(
    client: "ComputeManagementClient",
    method: str,
    resource: str,
    version: str,
    deadline: float,
    body: Mapping[str, Any] | None = None,
) -> Any:
    """One request about a resource that the compute client has no operation for."""
    from azure.core.rest import HttpRequest

    request = HttpRequest(method, resource, params={"api-version": version}, json=body)
    return client.send_request(request, deadline=deadline)
