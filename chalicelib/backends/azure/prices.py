"""Azure's price list: the Retail Prices API, which needs no login and answers in pages of 100 or 1000.

Source: Azure Retail Prices overview, API version 2023-01-01-preview. Values are compared case-sensitively there.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from chalicelib.backends.http import Answer, Endpoint
from chalicelib.domain.errors import BackendThrottledError, TransientError, UnknownOutcomeError

SOURCE: Final = "azure-retail-prices"
VERSION: Final = "2023-01-01-preview"
MOST_PAGES: Final = 500
"""A region has some ten thousand rows. A list that does not end is cut off rather than followed for ever."""

Price = tuple[int, datetime | None]
"""Micro-dollars an hour, and when the price list said so."""


def of_region(
    endpoint: Endpoint, region: str, is_over: Callable[[], bool] = lambda: False
) -> dict[tuple[str, bool], Price]:
    """Read what Linux machines cost in one region: (size, spot) -> price. The lowest where a size has several meters.

    Raises `TransientError`, also when it `is_over` before the last page, and `BackendThrottledError`.
    """
    wanted = f"serviceName eq 'Virtual Machines' and priceType eq 'Consumption' and armRegionName eq '{region}'"
    query = urlencode({"api-version": VERSION, "$filter": wanted}, quote_via=quote)
    prices: dict[tuple[str, bool], Price] = {}
    for row, asked_at in _rows(endpoint, query, is_over):
        if row.get("armRegionName") != region or not _is_linux_hour(row):
            continue
        key = (str(row["armSkuName"]), str(row["skuName"]).endswith(" Spot"))
        micros = round(row["retailPrice"] * 1_000_000)
        if micros > 0 and (key not in prices or micros < prices[key][0]):
            prices[key] = (micros, asked_at)
    return prices


def _is_linux_hour(row: Mapping[str, Any]) -> bool:
    """Whether a row is the price of an hour of a machine with a free system, and none that is being retired."""
    product, sku = str(row.get("productName", "")), str(row.get("skuName", ""))
    return (
        row.get("type") == "Consumption"
        and row.get("currencyCode") == "USD"
        and row.get("unitOfMeasure") == "1 Hour"
        and bool(row.get("armSkuName"))
        and isinstance(row.get("retailPrice"), int | float)
        and not product.endswith("Windows")
        and "Cloud Services" not in product
        and "CloudServices" not in product
        and "Dedicated" not in product
        and not sku.endswith((" Low Priority", " Expired"))
    )


def _rows(
    endpoint: Endpoint, query: str, is_over: Callable[[], bool]
) -> Iterator[tuple[dict[str, Any], datetime | None]]:
    """Every row, with the moment at which its page was served."""
    following = "?" + query
    for _ in range(MOST_PAGES):
        if is_over():
            raise TransientError("azure prices: there was no time for all pages")
        answer = _page(endpoint, following)
        items = answer.body.get("Items") if isinstance(answer.body, dict) else None
        if answer.status != 200 or not isinstance(items, list):
            kind = BackendThrottledError if answer.status == 429 else TransientError
            raise kind(f"azure prices: {answer.status} {answer.text}", status=answer.status)
        served_at = _moment(answer.headers.get("date", ""))
        for row in items:
            if isinstance(row, dict):
                yield row, served_at
        link = answer.body.get("NextPageLink")
        if not link:
            return
        if "?" not in str(link):
            raise TransientError(f"azure prices: a page that leads nowhere: {link!r}")
        # Only the query of the link is taken: where the list is, the settings say.
        following = "?" + str(link).partition("?")[2]
    raise TransientError(f"azure prices: more than {MOST_PAGES} pages")


def _page(endpoint: Endpoint, query: str) -> Answer:
    try:
        return endpoint.call("GET", query)
    except UnknownOutcomeError as error:
        raise TransientError(error.detail) from error


def _moment(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except ValueError:
        return None
