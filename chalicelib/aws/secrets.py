"""Secrets Manager: the credentials of configured backends, each set of them a secret of its own that never changes.

A name is used once, so there are no versions to tell apart and nothing to bring back from a recovery window: what is
deleted is deleted at once. Nobody needs it back, because adding the backend again takes its credentials again, and who
removes credentials from a control plane means it.
"""

import json
from collections.abc import Mapping
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.clients import client
from chalicelib.domain.errors import UnavailableError

_ABSENT: Final = "ResourceNotFoundException"
_GOING: Final = "InvalidRequestException"
"""What Secrets Manager answers for a secret that is marked for deletion. Source: its API reference, GetSecretValue."""


class SecretsManager:
    """`services.deps.Secrets` over AWS. Names are below `tidepool-<stage>/`."""

    def __init__(self, stage: str) -> None:
        self._prefix = f"tidepool-{stage}/"

    def put(self, name: str, values: Mapping[str, str]) -> None:
        """Store a secret under a name that is used once. The same call again (an answer was lost) is fine.

        botocore gives a repeat the token of the first call, by which Secrets Manager knows it; emulators may not.
        """
        text = json.dumps(dict(values), separators=(",", ":"))
        try:
            client("secretsmanager").create_secret(Name=self._prefix + name, SecretString=text)
        except ClientError as error:
            if _code(error) != "ResourceExistsException":
                raise

    def get(self, name: str) -> dict[str, str] | None:
        """Read a secret; None when there is none (any more). Raises `UnavailableError` when that cannot be told."""
        try:
            answer = client("secretsmanager").get_secret_value(SecretId=self._prefix + name)
        except BotoCoreError as error:
            raise UnavailableError(f"Secrets Manager did not answer: {type(error).__name__}") from error
        except ClientError as error:
            if _code(error) in {_ABSENT, _GOING}:
                return None
            raise UnavailableError(f"Secrets Manager refused: {_code(error)}") from error
        found: dict[str, str] = json.loads(answer["SecretString"])
        return found

    def delete(self, name: str) -> None:
        """Delete a secret at once; an absent one is fine."""
        try:
            client("secretsmanager").delete_secret(SecretId=self._prefix + name, ForceDeleteWithoutRecovery=True)
        except ClientError as error:
            if _code(error) not in {_ABSENT, _GOING}:
                raise


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
