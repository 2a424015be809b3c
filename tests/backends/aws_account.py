"""Accounts at the fake AWS, and the switchboard that the contract asks for."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from chalicelib.backends.aws import config
from chalicelib.backends.aws.driver import CAPABILITIES, AwsBackend
from chalicelib.backends.base import Account
from tests.fakes.aws.process import AwsProcess
from tests.fakes.aws.world import KEY_ID, SECRET

REGIONS = ("us-east-1", "eu-central-1")


def driver(
    aws: AwsProcess,
    *,
    key_id: str = KEY_ID,
    limit_s: float = 300,
    settles_s: float = 30,
    keys: bool = True,
    **more: Any,
) -> AwsBackend:
    """A driver of an account with keys, or of one whose `role_arn` is among `more`."""
    credentials: Mapping[str, str] = {"access_key_id": key_id, "secret_access_key": SECRET} if keys else {}
    account = Account("main", "aws", "aws", *config.parse({"regions": list(REGIONS), **more}, credentials))
    limits = replace(CAPABILITIES, call_timeout=timedelta(seconds=limit_s), settles_within=timedelta(seconds=settles_s))
    return AwsBackend(account, endpoint_url=aws.url, capabilities=limits)


class AwsRehearsal:
    """The switchboard of the fake as the contract has it."""

    def __init__(self, aws: AwsProcess) -> None:
        self._aws = aws

    def fail_next(self, kind: str) -> None:
        self._aws.set(fail_next=kind)

    def lose_next_answer(self) -> None:
        self._aws.set(lose_next=True)

    def slow(self, seconds: float) -> None:
        self._aws.set(slow_s=seconds)

    def interrupt(self, ref: str) -> None:
        self._aws.interrupt(ref)

    def leftovers(self, ref: str) -> list[str]:
        return self._aws.leftovers(ref)

    def reset(self) -> None:
        self._aws.reset()
