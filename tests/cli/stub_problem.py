"""An answer of the stub API that is no success."""

from typing import Any


class Problem(Exception):  # noqa: N818 - an answer
    def __init__(self, status: int, code: str, detail: str = "", **context: Any) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"code": code, "status": status, "detail": detail or code, "retryable": False, **context}
