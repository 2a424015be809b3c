"""What was sold out a moment ago, remembered for everybody: those offers rank last for a while."""

from collections.abc import Mapping
from datetime import datetime

from chalicelib import log
from chalicelib.domain import stock_outs as rules
from chalicelib.domain.model import Offer
from chalicelib.services.deps import Deps
from chalicelib.store import market as store


def cooled(deps: Deps, project: str) -> Mapping[str, datetime]:
    """Return the offers that rank last now, by `Offer.key`, and until when."""
    return store.stock_outs(project, deps.now())


def note(deps: Deps, project: str, offer: Offer, kind: str) -> None:
    """Remember a refusal of the class `kind`, when it is one that the next request would meet too."""
    if kind not in rules.REMEMBERED_KINDS:
        return
    known = store.stock_out(project, offer.key)
    new = rules.after(known, deps.now())
    if new is not None and store.put_stock_out(project, offer.key, known, new):
        log.event("stock-out", project=project, offer=offer.key, kind=kind, count=new.count, until=new.until)


def forget(deps: Deps, project: str, offer: Offer) -> None:
    """A launch of the offer worked, so it is not sold out."""
    if store.stock_out(project, offer.key) is not None:
        store.forget_stock_out(project, offer.key)
