"""A plan as it is shown before something is bought."""

from __future__ import annotations

from tidepool.errors import NoOffersError
from tidepool.output import cell
from tidepool.rows import OFFER_HEADER, offer_row
from tidepool.text import duration_text, money_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tidepool.output import Output
    from tidepool.wire import Plan


def show_plan(out: Output, plan: Plan) -> None:
    """Show what was understood, and the cheapest offers."""
    pairs = [("Pool", plan["pool"]), ("Requirements", cell(plan["requirements"]))]
    pairs += [policy_pair(key, value) for key, value in plan["policies"].items() if key != "requirements"]
    out.block(pairs)
    out.line()
    if plan["offers"]:
        out.table(OFFER_HEADER, [offer_row(offer) for offer in plan["offers"]], shrink=(2,))
    if plan["total_offers"] > len(plan["offers"]):
        out.line(f"… and {plan['total_offers'] - len(plan['offers'])} more")
    for line in (*plan.get("warnings", ()), *(plan["filters"] if plan["offers"] else ())):
        out.note(f"note: {cell(line)}")


def no_offers(plan: Plan) -> NoOffersError:
    """Say that nothing fits, and what removed the last candidates."""
    return NoOffersError("no offer fits these requirements", context={"filters": plan["filters"]})


def policy_pair(key: str, value: Any) -> tuple[str, str]:
    """A policy as a person reads it: units come from the key, as on the wire."""
    if key.endswith("_s") and isinstance(value, int | float):
        return _label(key.removesuffix("_s")), duration_text(value)
    if key.endswith("_micros") and isinstance(value, int | float):
        return _label(key.removesuffix("_micros")), f"{money_text(int(value))}/h"
    return _label(key.removesuffix("_s").removesuffix("_micros")), _value(value)


def _label(key: str) -> str:
    return key.replace("_", " ").capitalize().replace("gpu", "GPU")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "all"
    if isinstance(value, dict):
        pairs = [policy_pair(key, entry) for key, entry in value.items()]
        return "; ".join(f"{label.lower()} {text}" for label, text in pairs) or "-"
    return cell(value)
