"""The services beside EC2 that the driver asks: STS, SSM, Service Quotas and the price list. All but STS speak JSON."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from xml.sax.saxutils import escape

from tests.fakes.aws import catalog
from tests.fakes.aws.world import Refused, World

SESSION = timedelta(hours=1)


def sts(world: World, account: str | None, form: Mapping[str, str]) -> str:
    """Answer one call of STS in XML. Roles are assumed by anybody here: who may is the role's own business."""
    action = form["Action"]
    if action == "AssumeRole":
        key_id = world.assume(form["RoleArn"], form.get("ExternalId", ""))
        until = (datetime.now(UTC) + SESSION).strftime("%Y-%m-%dT%H:%M:%SZ")
        result = (
            f"<Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>fake</SecretAccessKey>"
            f"<SessionToken>fake</SessionToken><Expiration>{until}</Expiration></Credentials>"
        )
    elif action != "GetCallerIdentity":
        raise Refused(400, "InvalidAction", action)
    elif account is None:
        raise Refused(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
    else:
        arn = f"arn:aws:sts::{account}:assumed-role/tidepool-machines/session"
        result = f"<Arn>{escape(arn)}</Arn><UserId>AROAFAKE</UserId><Account>{account}</Account>"
    return f"<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"


def get_parameters(_world: World, region: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """SSM `GetParameters`: public parameters; those that are not there are listed as invalid."""
    known = catalog.IMAGES if region in catalog.ZONES else {}
    rows = [{"Name": name, "Type": "String", "Value": known[name][0]} for name in body["Names"] if name in known]
    return {"Parameters": rows, "InvalidParameters": [name for name in body["Names"] if name not in known]}


def get_service_quota(world: World, _region: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Service Quotas `GetServiceQuota`: every quota has the value of the switch."""
    return {"Quota": {"QuotaCode": body["QuotaCode"], "ServiceCode": "ec2", "Value": world.switches.quota}}


def get_products(world: World, _region: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Price list `GetProducts`, paged."""
    wanted = {each["Field"]: each["Value"] for each in body.get("Filters", [])}
    rows = catalog.products(wanted["regionCode"]) if "regionCode" in wanted else catalog.products("us-east-1")
    start = int(body.get("NextToken") or 0)
    size = min(body.get("MaxResults") or 100, world.switches.page)
    following = {"NextToken": str(start + size)} if start + size < len(rows) else {}
    return {"FormatVersion": "aws_v1", "PriceList": rows[start : start + size], **following}


JSON: Final[Mapping[str, Callable[[World, str, Mapping[str, Any]], dict[str, Any]]]] = {
    "AmazonSSM.GetParameters": get_parameters,
    "ServiceQuotasV20190624.GetServiceQuota": get_service_quota,
    "AWSPriceListService.GetProducts": get_products,
}
"""By the header `X-Amz-Target`."""
