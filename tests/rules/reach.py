"""What AWS is asked for by a function's code, read from the code: which calls its handler can come to.

A name counts as called where it is only mentioned (handed to a thread, kept in a table of tasks), and one branch as
much as the other: what is found may be too much for one path, and is never too little. Effects are reached through
`Deps`, whose fields stand for the classes of `chalicelib.aws` and for verbs. Of providers' drivers it is only known
that one may take on the role that a project has named.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from chalicelib.store.tables import TABLES, schema

ROOT = Path(__file__).parents[2]
UNSEEN = ("chalicelib.wiring", "chalicelib.backends")

EFFECTS = {
    "executions": "chalicelib.aws.executions:StepFunctions",
    "objects": "chalicelib.aws.objects:Bucket",
    "secrets": "chalicelib.aws.secrets:SecretsManager",
    "wake": "chalicelib.aws.wake:WakeQueues",
}
"""Field of `Deps` -> what `wiring` puts there."""

VERBS = {
    "backend": "chalicelib.services.backends:DriverCache.backend",
    "backend_names": "chalicelib.services.backends:names",
}
"""Field of `Deps` -> the verb that `wiring` puts there."""

CALLED = {
    "send_task_success": "states:SendTaskSuccess",
    "head_object": "s3:GetObject",
    "get_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "list_objects_v2": "s3:ListBucket",
    "create_queue": "sqs:CreateQueue",
    "get_queue_url": "sqs:GetQueueUrl",
    "send_message": "sqs:SendMessage",
    "delete_queue": "sqs:DeleteQueue",
    "create_secret": "secretsmanager:CreateSecret",
    "get_secret_value": "secretsmanager:GetSecretValue",
    "delete_secret": "secretsmanager:DeleteSecret",
}
"""Call of a boto3 client -> the right it needs. Source: Service Authorization Reference."""

MISSED = {"head_object", "get_object"}
"""Calls that ask for what may not be there: without the right to list, S3 says that it is forbidden."""

STARTED = {"start": "states:StartExecution", "running": "states:DescribeExecution"}
"""What is done with a workflow, named by its setting -> the right it needs to it."""

WRAPPED = {"start_execution", "describe_execution", "generate_presigned_url"}
"""Calls of a boto3 client that are accounted for where their argument is: the workflow's name, the signed call's."""

SIGNED = {"ReceiveMessage": "sqs:ReceiveMessage"} | {name: CALLED[name] for name in ("get_object", "put_object")}
"""What is signed for another to call, with the function's own rights, by the text that names it."""

STORED = {
    "get": "GetItem",
    "get_many": "BatchGetItem",
    "query": "Query",
    "query_all": "Query",
    "front": "Query",
    "scan_all": "Scan",
    "put": "PutItem",
    "write": "PutItem",
    "change": "UpdateItem",
    "update": "UpdateItem",
    "delete": "DeleteItem",
    "drop": "DeleteItem",
    "delete_many": "BatchWriteItem",
    "check": "ConditionCheckItem",
}
"""Function of `store.calls`, or method of its `Transaction` -> the right it needs to the table of the row."""

TABLE_OF = {table.model.__name__: f"{table.noun.title()}Table" for table in TABLES}
INDEXES = {
    (f"{described['TableName'].removeprefix('tidepool-test-').title()}Table", index["IndexName"])
    for described in schema("test")
    for index in described.get("GlobalSecondaryIndexes", ())
}

Need = tuple[str, str]
"""An action and what it is for: a table's logical id, `<table>/index/<index>`, a workflow; or nothing."""


def needs(*handlers: str) -> set[Need]:
    """What can be asked of AWS from `module:function` on."""
    graph, seen, waiting = _code(), set(), list(handlers)
    while waiting:
        name = waiting.pop()
        if name in graph and name not in seen:
            seen.add(name)
            waiting += _mentioned(name)
    return {need for name in seen for need in _asked(graph[name])}


def boto3_calls() -> set[str]:
    """What `chalicelib.aws` calls on clients."""
    trees = [_tree(module) for module in _modules() if module.startswith("chalicelib.aws.")]
    return {
        node.func.attr
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_client(node.func.value)
    }


def _is_client(node: ast.AST) -> bool:
    """`client("sqs")` and `self._s3`."""
    match node:
        case ast.Call(func=ast.Name(id="client")) | ast.Attribute(attr="_s3"):
            return True
    return False


def functions_of(package: str) -> list[str]:
    """Everything that the modules of a package define."""
    return [name for name in _code() if name.startswith(f"{package}.")]


@cache
def _code() -> dict[str, ast.AST]:
    """Every function, method and module constant by `module:name`."""
    found: dict[str, ast.AST] = {}
    for module in _modules():
        for node in _tree(module).body:
            match node:
                case ast.FunctionDef():
                    found[f"{module}:{node.name}"] = node
                case ast.ClassDef():
                    methods = (each for each in node.body if isinstance(each, ast.FunctionDef))
                    found |= {f"{module}:{node.name}.{each.name}": each for each in methods}
                case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                    found[f"{module}:{name}"] = node
    return found


@cache
def _modules() -> Mapping[str, Path]:
    paths = sorted((ROOT / "chalicelib").rglob("*.py"))
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    return {name: path for name, path in names.items() if not name.startswith(UNSEEN)}


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_modules()[module].read_text())


@cache
def _imported(module: str) -> dict[str, str]:
    """What a name of a module stands for: another module, or `module:name`."""
    nodes = [node for node in ast.walk(_tree(module)) if isinstance(node, ast.ImportFrom)]
    found: dict[str, str] = {}
    for source, alias in ((node.module or "", alias) for node in nodes for alias in node.names):
        whole = f"{source}.{alias.name}"
        found[alias.asname or alias.name] = whole if whole in _modules() else f"{source}:{alias.name}"
    return found


def _mentioned(name: str) -> Iterator[str]:
    """The functions that a function mentions."""
    module, _, own = name.partition(":")
    names = _imported(module)
    for node in ast.walk(_code()[name]):
        match node:
            case ast.Name(id=mentioned):
                yield names.get(mentioned, f"{module}:{mentioned}")
            case ast.Attribute(value=ast.Name(id="self"), attr=method):
                yield f"{module}:{own.partition('.')[0]}.{method}"
            case ast.Attribute(value=ast.Attribute(attr=field), attr=method) if field in EFFECTS:
                yield f"{EFFECTS[field]}.{method}"
            case ast.Attribute(value=ast.Name(id="deps"), attr=field) if field in VERBS:
                yield VERBS[field]
            case ast.Attribute(value=ast.Name(id=alias), attr=function) if alias in names:
                yield f"{names[alias]}:{function}"


def _asked(code: ast.AST) -> Iterator[Need]:
    """What one function asks of AWS itself."""
    for node in ast.walk(code):
        match node:
            case ast.Constant(value=str(text)) if text in SIGNED:
                yield SIGNED[text], ""
            case ast.Call(func=ast.Attribute(value=ast.Name(id="calls" | "writes"), attr=method)) if method in STORED:
                # A row that was made some lines above is of one of the function's tables.
                for row in _rows(*node.args) or _rows(code):
                    yield f"dynamodb:{STORED[method]}", TABLE_OF[row]
            case ast.Attribute(value=ast.Name(id=row), attr=index) if (TABLE_OF.get(row), index) in INDEXES:
                yield "dynamodb:Query", f"{TABLE_OF[row]}/index/{index}"
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="executions"), attr=method),
                args=[ast.Attribute(attr=arn), *_],
            ) if method in STARTED:
                yield STARTED[method], arn.removesuffix("_arn")
            case ast.Attribute(value=ast.Attribute(attr="drivers"), attr="make"):
                yield "sts:AssumeRole", ""
            case ast.Call(func=ast.Attribute(attr=method)) if method in CALLED:
                yield CALLED[method], ""
                if method in MISSED:
                    yield "s3:ListBucket", ""


def _rows(*nodes: ast.AST) -> set[str]:
    mentioned = (each for node in nodes for each in ast.walk(node))
    return {each.id for each in mentioned if isinstance(each, ast.Name) and each.id in TABLE_OF}
