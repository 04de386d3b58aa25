"""Decides which requests the dashboard answers, from their heads alone. Pure.

Whoever comes is a program of this machine, or a page in its browser: other people's pages, and pages that a container
serves on a port of 127.0.0.1, which for cookies and for ``SameSite`` is the same site as the dashboard. So the cookie
is bound to a path that only its owner knows, and whatever changes something must come from the dashboard's own page.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie

CSRF_HEADER = "x-portchain"
_SAFE = ("GET", "HEAD")
_OWN = ("same-origin", "none")
CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True)
class Asked:
    """A request's head; names of ``headers`` in lower case, ``token`` what its query has of that name."""

    method: str
    path: str
    headers: Mapping[str, str]
    token: str = ""


@dataclass(frozen=True)
class Refused:
    """The status of a refusal, and why."""

    status: int
    why: str


@dataclass(frozen=True)
class Entry:
    """The token is right: the cookie to set, and where the page is."""

    cookie: str
    to: str


@dataclass(frozen=True)
class Admitted:
    """Answer it; ``path`` begins with a slash and has no secret in it."""

    path: str


def _secret() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Guard:
    """What is let in at 127.0.0.1:``port``. The page and all it needs are below the secret ``place``."""

    port: int
    token: str = field(default_factory=_secret, repr=False)
    session: str = field(default_factory=_secret, repr=False)
    place: str = field(default_factory=_secret, repr=False)

    @property
    def url(self) -> str:
        """What the user opens."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def _hosts(self) -> list[str]:
        return [f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")]

    def decide(self, asked: Asked) -> Refused | Entry | Admitted:
        """Refuse a request, let its client in, or have it answered."""
        if asked.headers.get("host", "").lower() not in self._hosts:
            return Refused(
                HTTPStatus.MISDIRECTED_REQUEST, f"this is 127.0.0.1:{self.port}, and answers to no other name"
            )
        if asked.method not in (*_SAFE, "POST"):
            return Refused(HTTPStatus.METHOD_NOT_ALLOWED, "only GET, HEAD and POST")
        if asked.path == "/" and asked.method == "GET" and _same(asked.token, [self.token]):
            return self._entry()
        by_header = _same(asked.headers.get("authorization", ""), [f"Bearer {self.token}"])
        below = asked.path.removeprefix(f"/{self.place}")
        by_cookie = below != asked.path and _same(self.session, _cookies(asked.headers.get("cookie", ""), self._name))
        if not (by_header or by_cookie):
            return Refused(HTTPStatus.UNAUTHORIZED, "open the address that portchain dashboard printed")
        if why := self._foreign(asked, by_header):
            return Refused(HTTPStatus.FORBIDDEN, why)
        return Admitted(below or "/")

    @property
    def _name(self) -> str:
        return f"portchain_{self.port}"

    def _entry(self) -> Entry:
        where = f"/{self.place}/"
        return Entry(f"{self._name}={self.session}; HttpOnly; SameSite=Strict; Path={where}", where)

    def _foreign(self, asked: Asked, by_header: bool) -> str:
        """Why a request comes from another page, or may; empty if it does not."""
        origin, site = asked.headers.get("origin"), asked.headers.get("sec-fetch-site")
        if origin is not None and origin.lower() != f"http://{asked.headers['host'].lower()}":
            return "another site's page asks"
        if site is not None and site not in _OWN:
            return "another site's page asks"
        if asked.method in _SAFE or by_header:
            return ""
        if origin is None and site is None:
            return "a request that changes something says where it comes from: Origin or Sec-Fetch-Site"
        return "" if CSRF_HEADER in asked.headers else f"a request that changes something has the header {CSRF_HEADER}"


def _same(given: str, expected: Iterable[str]) -> bool:
    """Whether it is one of those, in a time that tells nothing of how much of it is right."""
    return any(compare_digest(given.encode(), one.encode()) for one in expected)


def _cookies(header: str, name: str) -> list[str]:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return []
    return [morsel.value] if morsel else []
