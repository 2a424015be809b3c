"""`checks.md`: what a pre-flight check of a host can find, and what puts it right."""

import re

from chalicelib.domain.findings import FINDINGS, Check, Finding, Status
from infra.reference.markdown import code, table
from infra.reference.markdown import page as whole

INTRO = """
Before a host is adopted over SSH, and by `tidepool host check`, all of these are looked at, and all are told: each is
`pass`, `warn` or `fail`. Only a failure stands in the way. A check that passes has the code `ok`. The fix is written
for the host's own package manager; words in capitals are filled in.
"""

PASSES = {
    Check.REACHABILITY: "a connection to an allowed address comes about, and an SSH server answers",
    Check.HOST_KEY: "the key is the one that was given or pinned, or the first that is seen",
    Check.AUTHENTICATION: "the user is let in with the key, and gets a POSIX shell",
    Check.OS: "Linux, of a distribution whose package manager is known",
    Check.ARCHITECTURE: "x86_64 or aarch64",
    Check.PYTHON: "some `python3` is 3.8 or newer and has `ssl`",
    Check.SUDO: "the user is root, or `sudo -n` works",
    Check.INIT: "systemd runs",
    Check.DISK: "20 GB are free where the agent and its jobs are",
    Check.CLOCK: "the clock is at most 5 s off",
    Check.DNS: "the name of the API resolves; an address needs no name",
    Check.API: "`/v1/health` answers 200, over HTTPS with a certificate that the host trusts, through no proxy",
    Check.NETWORK: "there is an address for neighbours, inside of `--network` where one was named",
    Check.DOCKER: "root reaches a daemon that is neither a snap, rootless nor Podman",
    Check.DRIVER: "`nvidia-smi` tells of every GPU without an error, or there is none on the bus",
    Check.CUDA: "the driver supports CUDA 12.1 or newer, or there is no GPU",
    Check.TOOLKIT: "Docker itself names the runtime `nvidia` or devices `nvidia.com/gpu`, or there is no GPU",
    Check.GPUS: "all that `--gpu` states are there, and none is in MIG mode",
    Check.OWNER: "nobody's, or this very instance's",
}

BLANK = re.compile(r"\{(\w+)\}")


def page() -> str:
    """Make the page: a table for each check, in the order in which they are told."""
    return whole("Checks of a host", INTRO, *(_section(check) for check in Check))


def _section(check: Check) -> str:
    found = [(name, each) for name, each in FINDINGS.items() if each.check is check]
    rows = [(code(name), _status(each), each.meaning, _fixes(each)) for name, each in found]
    return f"## {check}\n\nPasses where {PASSES[check]}.\n\n" + table(("code", "status", "meaning", "fix"), rows)


def _status(finding: Finding) -> str:
    return "**fail**" if finding.status is Status.FAIL else str(finding.status)


def _fixes(finding: Finding) -> str:
    told = [finding.fix] if finding.fix else []
    told += [f"{family}: `{fix}`" for family, fix in finding.fixes.items()]
    return BLANK.sub(lambda blank: blank[1].upper(), "; ".join(told))
