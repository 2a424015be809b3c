"""A queue per instance that an agent listens on, so that it need not ask every second.

A wake is a hint: the agent also syncs by itself, so nothing here may break the request or task that it is part of.
Queues cost nothing while nobody calls them, and a message nobody reads is gone after a minute.
"""

from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib import log
from chalicelib.aws.clients import client, credentials

LISTEN_S: Final = 20
"""The longest that SQS holds a ReceiveMessage open."""

ATTRIBUTES: Final = {"MessageRetentionPeriod": "60", "VisibilityTimeout": "120"}
"""60 s is the shortest retention. Visibility outlasts it, so a message that was received never comes again and the
agent needs no right to delete. Source: SQS API reference, SetQueueAttributes."""

_REMEMBERED: Final = 1000
_ABSENT: Final = frozenset({"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"})


class WakeQueues:
    """`services.deps.Wake` over SQS. Remembers the addresses of the queues it met."""

    def __init__(self, stage: str) -> None:
        self._prefix = f"tidepool-{stage}-wake-"
        self._urls: dict[str, str] = {}

    def create(self, instance_id: str) -> None:
        """Make the instance's queue; one that is there already is fine."""
        try:
            self._created(instance_id)
        except (BotoCoreError, ClientError) as error:
            log.error("wake-create-failed", instance_id=instance_id, detail=str(error))

    def send(self, instance_id: str) -> None:
        """Wake the agent of an instance, if its queue is there."""
        try:
            url = self._known(instance_id)
            client("sqs").send_message(QueueUrl=url, MessageBody="wake")
        except (BotoCoreError, ClientError) as error:
            self._urls.pop(instance_id, None)
            log.error("wake-send-failed", instance_id=instance_id, detail=str(error))

    def listen_url(self, instance_id: str, *, expires: timedelta) -> str:
        """Return a GET that waits up to `LISTEN_S` for a message, signed with the caller's own rights.

        The answer is SQS's XML; any `<Message>` in it means "sync now". Empty when there is no queue and none could be
        made. The URL ends with the credentials that signed it, which can be before `expires`.
        """
        try:
            return _presigned(self._known_or_created(instance_id), expires)
        except (BotoCoreError, ClientError) as error:
            log.error("wake-listen-failed", instance_id=instance_id, detail=str(error))
            return ""

    def delete(self, instance_id: str) -> None:
        """Remove the instance's queue; an absent one is fine."""
        try:
            client("sqs").delete_queue(QueueUrl=self._known(instance_id))
        except (BotoCoreError, ClientError) as error:
            if _code(error) not in _ABSENT:
                log.error("wake-delete-failed", instance_id=instance_id, detail=str(error))
        self._urls.pop(instance_id, None)

    def _known_or_created(self, instance_id: str) -> str:
        try:
            return self._known(instance_id)
        except ClientError as error:
            if _code(error) not in _ABSENT:
                raise
            return self._created(instance_id)

    def _known(self, instance_id: str) -> str:
        if instance_id not in self._urls:
            answer = client("sqs").get_queue_url(QueueName=self._prefix + instance_id)
            self._remember(instance_id, answer["QueueUrl"])
        return self._urls[instance_id]

    def _created(self, instance_id: str) -> str:
        answer = client("sqs").create_queue(QueueName=self._prefix + instance_id, Attributes=ATTRIBUTES)
        self._remember(instance_id, answer["QueueUrl"])
        return self._urls[instance_id]

    def _remember(self, instance_id: str, url: str) -> None:
        if len(self._urls) >= _REMEMBERED:
            self._urls.clear()
        self._urls[instance_id] = url


def _presigned(queue_url: str, expires: timedelta) -> str:
    """Sign a ReceiveMessage of SQS's query protocol; botocore's own presigner knows only the JSON one.

    `SigV4QueryAuth` adds `X-Amz-Security-Token` when the credentials are temporary, as a Lambda's are.
    """
    query = {
        "Action": "ReceiveMessage",
        "Version": "2012-11-05",
        "MaxNumberOfMessages": "10",
        "WaitTimeSeconds": str(LISTEN_S),
    }
    request = AWSRequest(method="GET", url=f"{queue_url}?{urlencode(query)}")
    region = client("sqs").meta.region_name
    SigV4QueryAuth(credentials(), "sqs", region, expires=int(expires.total_seconds())).add_auth(request)
    return str(request.url)


def _code(error: Exception) -> str:
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))
