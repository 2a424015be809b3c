"""How values lie in an item: moments and documents as text, so that an item is small and quick to read.

Moments are ISO 8601 in UTC with milliseconds and `Z`, which sorts as text; what is finer than a millisecond is cut
off. Documents are compact ASCII JSON: their length in characters is their length in bytes.
"""

import json
from datetime import UTC, datetime
from typing import Any

from pynamodb.attributes import Attribute
from pynamodb.constants import STRING


def stamp(moment: datetime) -> str:
    """Write an aware moment as `2024-05-01T12:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat("T", "milliseconds").removesuffix("+00:00") + "Z"


def moment(text: str) -> datetime:
    """Read what `stamp` wrote."""
    return datetime.fromisoformat(text)


def epoch(at: datetime) -> int:
    """Whole seconds since 1970, as DynamoDB wants a TTL attribute."""
    return int(at.timestamp())


def compact(value: Any) -> str:
    """Write a JSON document without a needless byte."""
    return json.dumps(value, separators=(",", ":"))


class MomentAttribute(Attribute[datetime]):
    """An aware datetime, stored as `stamp` writes it."""

    attr_type = STRING

    def serialize(self, value: datetime) -> str:
        """Write an aware moment."""
        return stamp(value)

    def deserialize(self, value: str) -> datetime:
        """Read a moment."""
        return moment(value)


class DocumentAttribute(Attribute[Any]):
    """A JSON document as one text: several times cheaper to read than a nested map."""

    attr_type = STRING

    def serialize(self, value: Any) -> str:
        """Write compact JSON."""
        return compact(value)

    def deserialize(self, value: str) -> Any:
        """Read JSON."""
        return json.loads(value)
