"""moto without the work that it repeats for each call: what it answers stays the same.

Most tests are little else than calls of moto. More than half of a call's time went into finding out again which methods
a class has, what kind of request it is and how its answer is written, which for items is known, and into a signature
that nobody checks. Of an update, half went into reading its expression twice, and into ten walks over it that ask of
each part ten times what it is. Making the tables took five times as long as starting moto. Nothing depends on this:
without it the tests only take longer.
"""

import copy
import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from botocore import useragent
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, AWSRequest
from moto import backend_index, mock_aws
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID, responses
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.responses import ActionResult
from moto.dynamodb.parsing import validators
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Expression, Node, UpdateExpressionFunction
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.responses import DynamoHandler

from chalicelib.store import tables
from infra.local.emulator import REGION
from tests.emulation import create_tables, dynamodb_at

ADDRESS = f"https://dynamodb.{REGION}.amazonaws.com/"
"""Where calls go that moto answers. Those to an emulator go to that."""

ON_ITEMS = {
    f"DynamoDB_20120810.{action}"
    for action in (
        *("GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan"),
        *("BatchGetItem", "BatchWriteItem", "TransactGetItems", "TransactWriteItems"),
    )
}
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


def take_short_cuts() -> None:
    """Let moto and botocore look up once what they look up at each call, and go straight to the items."""
    responses.method_names_from_class = cache(responses.method_names_from_class)
    useragent.sanitize_user_agent_string_component = cache(useragent.sanitize_user_agent_string_component)
    # Moto asks each service in its turn whether an address is its own, and DynamoDB is the 52nd.
    backend_index.backend_url_patterns.sort(key=lambda each: each[0] != "dynamodb")
    _go_straight_to_the_items()
    _read_each_expression_once()
    DepthFirstTraverser.traverse = walk
    Node.find_clauses = clauses


class Straight(DynamoHandler):
    """What a call for items becomes, of which is known that it is one: moto's own from its action on."""

    def __init__(self, target: str, body: bytes) -> None:
        super().__init__()
        self.headers = {"X-Amz-Target": target, "Content-Type": "application/x-amz-json-1.0"}
        self.response_headers: dict[str, Any] = {}
        self.querystring: dict[str, Any] = {}
        self.region = REGION
        self.current_account = DEFAULT_ACCOUNT_ID
        self.params = json.loads(body)

    def serialized(self, action_result: ActionResult) -> Any:
        answer = action_result.result
        if not isinstance(answer, dict):
            return super().serialized(action_result)
        return 200, {}, json.dumps({name: value for name, value in answer.items() if value is not None})


def _go_straight_to_the_items() -> None:
    """Answer calls for items without a look at what else they could be, and let nobody sign what nobody checks."""
    processed, signed = BotocoreStubber.process_request, SigV4Auth.add_auth

    def process(self: BotocoreStubber, request: AWSPreparedRequest) -> Any:
        target = request.headers.get("X-Amz-Target", b"").decode()
        if target not in ON_ITEMS or request.url != ADDRESS:
            return processed(self, request)
        return Straight(target, request.body).call_action()

    def sign(self: SigV4Auth, request: AWSRequest) -> None:
        if request.url != ADDRESS:
            signed(self, request)

    BotocoreStubber.process_request, SigV4Auth.add_auth = process, sign


def _read_each_expression_once() -> None:
    """Read an update expression once for all that have the same text; a copy by pickling takes a fifth of the time."""
    read: Callable[[str], Any] = UpdateExpressionParser.make
    known: dict[str, bytes] = {}

    def make(text: str) -> Any:
        if text not in known:
            known[text] = pickle.dumps(read(text))
        return pickle.loads(known[text])

    UpdateExpressionParser.make = make
    validators.deepcopy = lambda tree: pickle.loads(pickle.dumps(tree))


def walk(self: DepthFirstTraverser, root: Any) -> Any:
    """Process a tree from its leaves on, as `traverse` does, but ask once of each kind of node who processes it."""
    processors = self._processing_map()
    looks_ahead = type(self).pre_processing_of_child is not DepthFirstTraverser.pre_processing_of_child
    known: dict[type, Callable[[Any], Any] | None] = {}

    def processor(kind: type) -> Callable[[Any], Any] | None:
        if kind not in known:
            known[kind] = next((process for each, process in processors.items() if issubclass(kind, each)), None)
        return known[kind]

    def visit(node: Any, place: int) -> Any:
        parent = node.parent
        for number, child in enumerate(node.children or ()):
            if looks_ahead:
                self.pre_processing_of_child(node, number)
            if is_one_of(type(child), Node):
                visit(child, number)
        process = processor(type(node))
        if process is None:
            return node
        node = process(node)
        node.parent = parent
        if parent:
            parent.children[place] = node
        return node

    return visit(root, -1)


def clauses(self: Node, kinds: list[type]) -> list[Any]:
    """The nodes of some kinds below a node, as `find_clauses` finds them."""
    found: list[Any] = []
    for child in self.children or ():
        kind = type(child)
        if kind in kinds:
            found.append(child)
        elif is_one_of(kind, Expression) or is_one_of(kind, UpdateExpressionFunction):
            found += child.find_clauses(kinds)
    return found


@cache
def is_one_of(kind: type, wanted: type) -> bool:
    """`issubclass`, which takes long for abstract classes."""
    return issubclass(kind, wanted)
