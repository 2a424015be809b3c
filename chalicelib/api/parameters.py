"""Query parameters: what a route understands behind the question mark. Anything else is refused by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from chalicelib.domain.errors import InvalidInputError

MAX_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter. `parse` gets the text, or None when it is absent, and raises `InvalidInputError`."""

    name: str
    schema: Mapping[str, Any]
    meaning: str
    parse: Callable[[str, str | None], Any]

    def read(self, text: str | None) -> Any:
        """Read what was given for this parameter."""
        return self.parse(self.name, text)


def read_all(known: tuple[Parameter, ...], given: Mapping[str, str]) -> dict[str, Any]:
    """Read every known parameter; those not given have their default. Raises `InvalidInputError` for another name."""
    names = [parameter.name for parameter in known]
    for name, text in given.items():
        if name not in names:
            raise InvalidInputError(
                name, text, f"one of the parameters {', '.join(names)}" if names else "no parameter"
            )
    return {parameter.name: parameter.read(given.get(parameter.name)) for parameter in known}


def flag(name: str, meaning: str) -> Parameter:
    """`true` or `false`; absent is false."""

    def parse(field: str, text: str | None) -> bool:
        if text not in {None, "true", "false"}:
            raise InvalidInputError(field, text, "true or false")
        return text == "true"

    return Parameter(name, {"type": "boolean", "default": False}, meaning, parse)


def whole(name: str, meaning: str, *, default: int, least: int, most: int) -> Parameter:
    """A whole number within bounds."""

    def parse(field: str, text: str | None) -> int:
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
            raise InvalidInputError(field, text, f"a whole number from {least} to {most}")
        return int(text)

    schema = {"type": "integer", "default": default, "minimum": least, "maximum": most}
    return Parameter(name, schema, meaning, parse)


def text(name: str, meaning: str) -> Parameter:
    """Any text of up to 1,000 characters; absent is None."""

    def parse(field: str, given: str | None) -> str | None:
        if given is not None and len(given) > 1000:
            raise InvalidInputError(field, given[:80], "at most 1,000 characters")
        return given

    return Parameter(name, {"type": "string", "maxLength": 1000}, meaning, parse)


LIMIT: Final = whole("limit", "How many items a page has at most.", default=100, least=1, most=MAX_LIMIT)
CURSOR: Final = text("cursor", "The `next` of the page before.")
FORCE: Final = flag("force", "Do it although the thing is in use.")
PAGE: Final = (LIMIT, CURSOR)
