"""Make a token with the operator's own AWS credentials: the first one of a deployment, or one when all are lost.

    python -m infra.token --stage prod      (credentials and region as for any AWS tool)

The token goes to standard output and cannot be shown again; what it is good for goes to standard error. The API is not
asked: whoever may write the tables `pools` and `tokens` may do this.
"""

import argparse
import os
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.domain.errors import AlreadyExistsError, InvalidInputError, TidepoolError
from chalicelib.domain.model import Role, Token
from chalicelib.services import pools, tokens
from chalicelib.services.deps import Deps
from infra.build import STAGE
from infra.deploy import outputs

ROLES = tuple(role.value for role in Role if role is not Role.AGENT)


def grant(
    deps: Deps, project: str, *, name: str, role: Role, lifetime: timedelta, every_project: bool = False
) -> tuple[Token, str]:
    """Make a token of a project, or of every project, and return it with its text. The project is made when missing.

    Raises `InvalidInputError` for what cannot be a project's name.
    """
    with suppress(AlreadyExistsError):
        pools.create_project(deps, project)
    reach = tokens.EVERY_PROJECT if every_project else project
    return tokens.issue(deps, project=reach, name=name, role=role, expires_in=lifetime)


def main() -> int:
    """Make it; 1 when the tables refuse, with the reason on standard error."""
    import boto3

    given = _arguments()
    session: Any = boto3.session.Session()
    if not session.region_name:
        sys.stderr.write("a region is needed: set AWS_DEFAULT_REGION\n")
        return 1
    os.environ["TIDEPOOL_STAGE"] = given.stage
    from chalicelib.wiring import deps

    try:
        token, text = grant(
            deps(),
            given.project,
            name=given.name,
            role=Role(given.role),
            lifetime=given.lifetime,
            every_project=given.every_project,
        )
    except (TidepoolError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{_reason(error, given.stage)}\n")
        return 1
    # First of all: from here on nothing may fail before the token is out.
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    reach = "every project" if given.every_project else f"project {token.project}"
    sys.stderr.write(f"shown this once: {token.name}, {token.role} of {reach} until {token.expires_at:%Y-%m-%d}\n")
    with suppress(BotoCoreError):
        if address := outputs(session.client, f"tidepool-{given.stage}").get("EndpointURL"):
            sys.stderr.write(f"to use it: tidepool login {address}\n")
    return 0


def _arguments() -> argparse.Namespace:
    """Read the command line, and add `lifetime`. What a token may be is what the API lets it be."""
    from pydantic import ValidationError  # not at the top: `make up` uses this module and has no command line to check

    from chalicelib.api.schemas import NewToken

    parser = argparse.ArgumentParser(prog="python -m infra.token", description=__doc__)
    parser.add_argument("--stage", required=True, help="the stage that was deployed")
    parser.add_argument("--project", default="main", help="made when it is missing (main)")
    parser.add_argument("--every-project", action="store_true", help="good for every project, later ones too")
    parser.add_argument("--name", default="admin", help="what the token is listed as (admin)")
    parser.add_argument("--role", default="admin", choices=ROLES, help="what its holder may do (admin)")
    parser.add_argument("--expires", default="90d", metavar="DURATION", help="how long it is good (90d; at most 366d)")
    given = parser.parse_args()
    if not STAGE.fullmatch(given.stage):
        parser.error(f"--stage: {given.stage!r} is no stage")
    try:
        given.lifetime = NewToken(name=given.name, role=given.role, expires_in=given.expires).lifetime
    except ValidationError:
        parser.error(f"--name: {given.name!r} is not printable ASCII of 1 to 100 characters")
    except InvalidInputError as error:
        parser.error(f"--expires: {error.given!r} is not valid; expected {error.expected}")
    return given


def _reason(error: Exception, stage: str) -> str:
    if isinstance(error, ClientError) and error.response["Error"]["Code"] == "ResourceNotFoundException":
        return f"this account and region have no stage {stage!r}: make deploy STAGE={stage}"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
