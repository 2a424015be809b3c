"""The bearer token of an app registration: one form POST, kept until shortly before it expires.

Source: OAuth 2.0 client credentials flow on the Microsoft identity platform.
"""

import time
from typing import Final
from urllib.parse import urlencode

from chalicelib.backends.http import exchange, understood
from chalicelib.domain.errors import BackendAuthError, BackendThrottledError, TransientError, UnknownOutcomeError

SCOPE: Final = "https://management.azure.com/.default"
RENEW_BEFORE_S: Final = 300
"""A token is not used in its last minutes: a call takes time, and clocks differ."""


class Tokens:
    """The tokens of one app registration. `url` is the tenant's token endpoint."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        self._url = url
        self._form = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": client_id,
                "client_secret": client_secret,
                "scope": SCOPE,
            }
        ).encode()
        self._kept: tuple[str, float] = ("", 0.0)

    def current(self, *, deadline: float) -> str:
        """Return a token that is good for some minutes. Nothing but a token comes of it, so nothing is left open.

        Raises `BackendAuthError` with the words of the login when it refuses, `BackendThrottledError`,
        `TransientError`.
        """
        token, good_until = self._kept
        if time.monotonic() < good_until:
            return token
        self._kept = self._fetched(deadline)
        return self._kept[0]

    def forget(self, token: str) -> None:
        """Use a token no more: a provider that refuses it knows better than the clock, which may have stood still."""
        if self._kept[0] == token:
            self._kept = ("", 0.0)

    def _fetched(self, deadline: float) -> tuple[str, float]:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        asked_at = time.monotonic()
        try:
            answer = understood(exchange("POST", self._url, headers, self._form, deadline=deadline))
        except UnknownOutcomeError as error:
            raise TransientError(error.detail) from error
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status == 200 and isinstance(body.get("access_token"), str):
            lasts_s = _seconds(body.get("expires_in"))
            return body["access_token"], asked_at + max(0, lasts_s - RENEW_BEFORE_S)
        words = str(body.get("error_description") or body.get("error") or answer.text).partition("\r\n")[0]
        if answer.status == 429:
            raise BackendThrottledError(f"azure login: {words}", status=429)
        if 400 <= answer.status < 500 and body.get("error"):
            raise BackendAuthError(f"azure login: {words}", provider_code=str(body["error"]), status=answer.status)
        raise TransientError(f"azure login: {answer.status} {words}", status=answer.status)


def _seconds(given: object) -> int:
    """`expires_in`, which some endpoints send as a text. Unknown: the token is used for the present call alone."""
    try:
        return int(str(given))
    except ValueError:
        return 0
