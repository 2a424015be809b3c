"""How the local cloud says no."""

from typing import Any


class RefusedError(Exception):
    """An answer that is not a success: an HTTP status, a stable code and words for people.

    On the wire: `{"error": {"code": "<code>", "message": "<words>", ...context}}`.
    """

    def __init__(self, status: int, code: str, message: str, **context: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.context = context

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"code": self.code, "message": self.message, **self.context}}
