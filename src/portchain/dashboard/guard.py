"""Decide which requests the dashboard answers, from their heads alone. Pure.

A client is a program of this machine, or a page in its browser: pages of other sites, and pages that a container
serves on a port of 127.0.0.1, which for cookies and for ``SameSite`` is the same site as the dashboard. So the cookie
is bound to a path that only its owner knows, and whatever changes something must come from the dashboard's own page.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from http import HTTPStatus

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
class BrowserRequest:
    """A request's head: ``headers`` have lower-case names, ``token`` is the query's."""

    method: str
    path: str
    headers: Mapping[str, str]
    token: str = ""


@dataclass(frozen=True)
class Refusal:
    """A refusal's status and reason."""

    status: int
    reason: str


@dataclass(frozen=True)
class SignIn:
    """The answer to a right token: the cookie to set, and the page's path."""

    cookie: str
    location: str


@dataclass(frozen=True)
class Admitted:
    """A request to be answered; ``path`` begins with a slash and has no secret in it."""

    path: str


def _secret() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Guard:
    """The access policy of 127.0.0.1:``port``; the page and all it needs are below ``secret_path``."""

    port: int
    token: str = field(default_factory=_secret, repr=False)
    session: str = field(default_factory=_secret, repr=False)
    secret_path: str = field(default_factory=_secret, repr=False)

    @property
    def url(self) -> str:
        """The address that the user opens."""
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def _hosts(self) -> list[str]:
        return [f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]")]

    def decide(self, request: BrowserRequest) -> Refusal | SignIn | Admitted:
        """Refuse a request, sign its client in, or admit it."""
        if request.headers.get("host", "").lower() not in self._hosts:
            return Refusal(
                HTTPStatus.MISDIRECTED_REQUEST, f"this is 127.0.0.1:{self.port}, and answers to no other name"
            )
        if request.method not in (*_SAFE, "POST"):
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET, HEAD and POST")
        if request.path == "/" and request.method == "GET" and _same(request.token, [self.token]):
            return self._entry()
        by_header = _same(request.headers.get("authorization", ""), [f"Bearer {self.token}"])
        path = request.path.removeprefix(f"/{self.secret_path}")
        by_cookie = path != request.path and _same(
            self.session, _cookies(request.headers.get("cookie", ""), self._name)
        )
        if not (by_header or by_cookie):
            return Refusal(HTTPStatus.UNAUTHORIZED, "open the address that portchain dashboard printed")
        if reason := self._foreign(request, by_header):
            return Refusal(HTTPStatus.FORBIDDEN, reason)
        return Admitted(path or "/")

    @property
    def _name(self) -> str:
        return f"portchain_{self.port}"

    def _entry(self) -> SignIn:
        path = f"/{self.secret_path}/"
        return SignIn(f"{self._name}={self.session}; HttpOnly; SameSite=Strict; Path={path}", path)

    def _foreign(self, request: BrowserRequest, by_header: bool) -> str:
        """Return why a request comes, or may come, from another page; empty if it does not."""
        origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
        if origin is not None and origin.lower() != f"http://{request.headers['host'].lower()}":
            return "another site's page asks"
        if site is not None and site not in _OWN:
            return "another site's page asks"
        if request.method in _SAFE or by_header:
            return ""
        if origin is None and site is None:
            return "a request that changes something says where it comes from: Origin or Sec-Fetch-Site"
        return (
            "" if CSRF_HEADER in request.headers else f"a request that changes something has the header {CSRF_HEADER}"
        )


def _same(given: str, expected: Iterable[str]) -> bool:
    """Tell whether a secret is one of those expected, in a time that does not depend on how much is right."""
    return any(compare_digest(given.encode(), secret.encode()) for secret in expected)


def _cookies(header: str, name: str) -> list[str]:
    """Return the values of all cookies of a name: a page of another port of this host may have set one, too."""
    pairs = (pair.partition("=") for pair in header.split(";"))
    return [value.strip() for key, _, value in pairs if key.strip() == name]
