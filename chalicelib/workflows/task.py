"""What every worker has around it: bound log fields, and a log line for each failure.

Chalice's middleware does not run for workers, so this is a decorator. The exception goes on: its class name is what a
workflow's Retry and Catch see, and what makes a stream batch be tried again.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from chalicelib import log

Handler = Callable[[Any, Any], Any]


def task(handler: Handler) -> Handler:
    """Wrap one Lambda handler. The wrapped function keeps its name: Lambda finds it by that.

    Chalice gives the handlers of streams and schedules one argument, an event object that has the context on it.
    """

    @wraps(handler)
    def wrapped(event: Any, context: Any = None) -> Any:
        context = context or getattr(event, "context", None)
        named = event if isinstance(event, dict) else {}
        log.bind(
            function=handler.__name__,
            request=getattr(context, "aws_request_id", ""),
            **{key: named[key] for key in ("instance_id", "task") if key in named},
        )
        try:
            return handler(event, context)
        except Exception as error:
            log.error("task-failed", error)
            raise

    return wrapped
