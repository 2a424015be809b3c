"""Ends a call at any of its lines, as a worker's death does."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


class Killed(BaseException):
    """What nothing in the code catches, as nothing catches the end of a process."""


class Reaper:
    """Ends a call before the line that is the `at`th to be executed in some files."""

    def __init__(self, at: int, files: set[str | None]) -> None:
        self.left = at
        self.files = files

    def kills(self, call: Callable[[], Any]) -> bool:
        """Make the call; returns whether it was killed before its end."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            call()
        except Killed:
            return True
        finally:
            sys.settrace(before)
        return False

    def _enter(self, frame: FrameType, _event: str, _arg: object) -> Any:
        watched = frame.f_code.co_filename in self.files
        return self._line if watched else None

    def _line(self, _frame: FrameType, event: str, _arg: object) -> Any:
        if event == "line":
            if not self.left:
                raise Killed
            self.left -= 1
        return self._line
