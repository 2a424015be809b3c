"""What an adoption or a look at a host ended with, from the API's answers."""

from __future__ import annotations

from tidepool.errors import ConflictError, HostChecksFailedError, ProvisioningFailedError, UnavailableError
from tidepool.host_results import ADDED, CHECKED, Result, failed
from tidepool.text import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidepool.errors import TidepoolError
    from tidepool.wire import HostCheck, HostFacts, Instance, InstanceDetail

READY = frozenset({"idle", "busy"})
OVER = frozenset({"terminating", "terminated"})
ASKED_FOR = frozenset({"user-removed", "pool-deleted"})
AWAY = frozenset({"reachability"})
"""The checks that speak of the way to the host, not of the host."""
OTHER_KEY = {
    "host-key-changed": "it shows another host key than the one that is pinned",
    "host-key-mismatch": "it shows another host key than the one that was given or is known",
    "jump-host-key": "its jump host shows another host key than the one that was given or is pinned",
}
"""The findings that are an attack until somebody has looked: trying again does not help, wherever they were made."""


def ended(host: str, instance: InstanceDetail, *, how: str = ADDED) -> Result:
    """The result of an adoption that is over."""
    facts = instance["host"]
    checks = facts["checks"] if facts else []
    fingerprint = facts["host_key"] if facts else ""
    if instance["state"] in READY:
        result = Result(host, how, instance=instance, checks=checks, fingerprint=fingerprint)
        result.jump_fingerprint = facts["jump_host_key"] if facts else ""
        return result
    words = (facts["failure"] if facts else "") or instance["detail"] or instance["reason"]
    if instance["reason"] in ASKED_FOR:
        return failed(host, ConflictError(f"{instance['name']} was removed meanwhile"), fingerprint=fingerprint)
    return failed(host, verdict(host, words, checks, instance), fingerprint=fingerprint)


def ended_check(host: str, facts: HostFacts) -> Result:
    """The result of a look that is over."""
    checks, fingerprint = facts["checks"], facts["host_key"]
    if facts["step"] == "done":
        result = Result(host, CHECKED, checks=checks, fingerprint=fingerprint)
        result.jump_fingerprint = facts["jump_host_key"]
        return result
    return failed(host, verdict(host, facts["failure"], checks, None), fingerprint=fingerprint)


def verdict(host: str, words: str, checks: Sequence[HostCheck], instance: Instance | None) -> TidepoolError:
    """The error that a failed host ends with."""
    wrong = [check for check in checks if check["status"] == "fail"]
    context = {"checks": list(checks), "instance": instance}
    if not wrong:
        return ProvisioningFailedError(f"{host}: {clean(words)}", context=context)
    code = wrong[0]["code"] if len(wrong) == 1 else HostChecksFailedError.code
    if other := next((check["code"] for check in wrong if check["code"] in OTHER_KEY), ""):
        told = f"{host}: {OTHER_KEY[other]}: another machine is there, or somebody in between (a possible attack)"
        return HostChecksFailedError(told, code=other, context=context)
    if all(check["check"] in AWAY for check in wrong):
        told = f"{host} cannot be reached: {', '.join(check['code'] for check in wrong)}"
        return UnavailableError(told, code=code, context=context)
    told = f"{host} is not fit: {len(wrong)} of {len(checks)} checks failed"
    return HostChecksFailedError(told, code=code, context=context)
