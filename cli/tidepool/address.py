"""Addresses: taken apart, written, and which proxy leads there. `urllib.parse` would cost a third of the start-up."""

from __future__ import annotations

from tidepool.errors import InputError
from tidepool.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Url:
    """The parts of `http(s)://host[:port][/path][?query]`. `target` is path and query as they go on the wire."""

    __slots__ = ("authority", "host", "port", "target", "tls")

    def __init__(self, text: str) -> None:
        scheme, mark, rest = text.partition("://")
        if not mark or scheme.lower() not in ("http", "https") or any(c <= " " or c == "\x7f" for c in text):
            raise InputError(f"not an http(s) URL: {quoted(text)}")
        self.tls = scheme.lower() == "https"
        ends = [at for at in (rest.find("/"), rest.find("?"), rest.find("#")) if at >= 0]
        end = min(ends, default=len(rest))
        self.authority, tail = rest[:end].rpartition("@")[2], rest[end:].partition("#")[0]
        self.target = tail if tail.startswith("/") else "/" + tail
        host, colon, port = self.authority.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = self.authority, ""
        if not host or (port and not port.isascii()) or (port and not port.isdigit()):
            raise InputError(f"not an http(s) URL: {quoted(text)}")
        self.host = host.strip("[]")
        self.port = int(port) if port else (443 if self.tls else 80)


def quote(text: str) -> str:
    """Percent-encode everything but the unreserved characters (RFC 3986, 2.3)."""
    return "".join(chr(byte) if byte in UNRESERVED else f"%{byte:02X}" for byte in text.encode())


def proxy_for(url: str, environ: Mapping[str, str]) -> str:
    """Answer the proxy that the environment names for `url`, by the usual variables, or nothing.

    `NO_PROXY` is a comma-separated list of hosts and domain suffixes, or `*`. Loopback never goes through a proxy.
    """
    parts = Url(url)
    name = "https_proxy" if parts.tls else "http_proxy"
    proxy = environ.get(name) or (environ.get(name.upper(), "") if parts.tls else "")
    if not proxy or parts.host in ("localhost", "127.0.0.1", "::1"):
        return ""
    spared = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    for entry in spared.split(","):
        suffix = entry.strip().lstrip(".")
        if suffix == "*" or (suffix and (parts.host == suffix or parts.host.endswith("." + suffix))):
            return ""
    return proxy if "://" in proxy else "http://" + proxy
