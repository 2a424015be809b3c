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

BLANK = re.compile(r"\{(\w+)\}")


def page() -> str:
    """Make the page: a table for each check, in the order in which they are told."""
    return whole("Checks of a host", INTRO, *(_section(check) for check in Check))


def _section(check: Check) -> str:
    found = [(name, each) for name, each in FINDINGS.items() if each.check is check]
    rows = [(code(name), _status(each), each.meaning, _fixes(each)) for name, each in found]
    return f"## {check}\n\n" + table(("code", "status", "meaning", "fix"), rows)


def _status(finding: Finding) -> str:
    return "**fail**" if finding.status is Status.FAIL else str(finding.status)


def _fixes(finding: Finding) -> str:
    told = [finding.fix] if finding.fix else []
    told += [f"{family}: `{fix}`" for family, fix in finding.fixes.items()]
    return BLANK.sub(lambda blank: blank[1].upper(), "; ".join(told))
