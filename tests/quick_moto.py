"""moto without the work that it repeats for each call: what it answers stays the same.

Most tests are little else than calls of moto. A third of a call's time went into finding out again which methods a
class has and under which names an answer may hold a value; both depend on the code alone. Making the tables took five
times as long as starting moto. Nothing depends on this: without it the tests only take longer.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from botocore import useragent
from botocore.model import Shape
from moto import backend_index, mock_aws
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID, responses, serialize

from chalicelib.store import tables
from infra.local.emulator import REGION
from tests.emulation import create_tables, dynamodb_at

MADE: dict[str, Any] = {}
"""The empty tables of each stage, as moto's own API made them once in this process."""


@contextmanager
def empty_tables(stage: str = "test") -> Iterator[None]:
    """Every table of a stage on moto, empty, whatever was written to those that were there before."""
    with mock_aws():
        tables.configure(stage)
        backend = get_backend("dynamodb")[DEFAULT_ACCOUNT_ID][REGION]
        if stage in MADE:
            backend.tables = copy.deepcopy(MADE[stage])
        else:
            create_tables(stage, dynamodb_at(""))
            MADE[stage] = copy.deepcopy(backend.tables)
        yield


def remember_what_never_changes() -> None:
    """Let moto and botocore look up once what they look up at each call."""
    responses.method_names_from_class = cache(responses.method_names_from_class)
    useragent.sanitize_user_agent_string_component = cache(useragent.sanitize_user_agent_string_component)
    # Moto asks each service in its turn whether an address is its own, and DynamoDB is the 52nd.
    backend_index.backend_url_patterns.sort(key=lambda each: each[0] != "dynamodb")
    picked = serialize.ResponseSerializer.get_value

    def picked_from_dict(self: serialize.ResponseSerializer, value: Any, key: str, shape: Shape) -> Any:
        picker = self._value_picker
        if type(value) is not dict or type(picker) is not NAMED or picker.response_transformers:
            return picked(self, value, key, shape)
        return next((value[name] for name in _names(shape, key) if name in value), None)

    serialize.ResponseSerializer.get_value = picked_from_dict


NAMED = serialize.XFormedAttributePicker


@cache
def _names(shape: Shape, key: str) -> tuple[str, ...]:
    """The names that moto looks for in a plain dictionary, in its order."""
    context = serialize.AttributePickerContext(obj={}, key=key, shape=shape)
    return tuple(dict.fromkeys(NAMED().get_possible_keys(context)))
