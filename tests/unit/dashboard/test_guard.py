from __future__ import annotations

from typing import Any

import pytest

from portchain.dashboard.guard import Admitted, BrowserRequest, Guard, Refusal, SignIn

GUARD = Guard(8000, token="token", session="session", secret_path="place")
HOST = {"host": "127.0.0.1:8000"}
COOKIE = {"cookie": "other=1; portchain_8000=session"}
BEARER = {"authorization": "Bearer token"}
OWN = {"origin": "http://127.0.0.1:8000", "x-portchain": "dashboard"}


def decide(method: str = "GET", path: str = "/place/", token: str = "", **headers: Any) -> Any:
    named = {name.replace("_", "-"): value for name, value in (HOST | headers).items() if value is not None}
    return GUARD.decide(BrowserRequest(method, path, named, token))


def status(*arguments: Any, **words: Any) -> int:
    found = decide(*arguments, **words)
    return found.status if isinstance(found, Refusal) else 200


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000"])
def test_the_loopbacks_names_are_its_own(host: str) -> None:
    assert decide(host=host, **COOKIE) == Admitted("/")


@pytest.mark.parametrize(
    "host", ["rebound.example:8000", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.example:8000", "127.0.0.2:8000", "", None]
)
def test_any_other_name_is_misdirected_whatever_else_is_right(host: str | None) -> None:
    assert status("GET", "/", "token", host=host, **COOKIE, **BEARER) == 421


def test_the_token_sets_a_cookie_that_no_script_no_other_site_and_no_other_port_gets() -> None:
    found = decide("GET", "/", "token")
    assert isinstance(found, SignIn)
    assert found.location == "/place/"
    assert found.cookie.split("; ") == ["portchain_8000=session", "HttpOnly", "SameSite=Strict", "Path=/place/"]


@pytest.mark.parametrize(
    ("path", "token"), [("/", ""), ("/", "wrong"), ("/", "toke"), ("/place/", "token"), ("/", "é")]
)
def test_no_other_token_and_no_other_place_for_it(path: str, token: str) -> None:
    assert status("GET", path, token) == 401


@pytest.mark.parametrize(
    "cookie",
    [
        "portchain_8000=another; portchain_8000=session",
        "portchain_8000=session; portchain_8000=another",
        'portchain_8000=session; "=; bad[name]=1',
    ],
)
def test_a_cookie_that_another_page_set_locks_nobody_out(cookie: str) -> None:
    assert decide(cookie=cookie) == Admitted("/")


@pytest.mark.parametrize(
    "cookie", [None, "", "portchain_8000=", "portchain_8000=token", "portchain_8001=session", "=;=;\x00", "session"]
)
def test_without_the_cookie_nothing(cookie: str | None) -> None:
    assert status(cookie=cookie) == 401


@pytest.mark.parametrize("path", ["/", "/events", "//place/", "/plac/", "/Place/events"])
def test_the_cookie_is_good_at_its_place_only(path: str) -> None:
    assert status("GET", path, **COOKIE) == 401


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer ", "token", "Basic token", "Bearer session"])
def test_the_header_has_the_token(value: str) -> None:
    assert status(authorization=value) == 401


def test_programs_come_with_the_token_alone() -> None:
    assert decide("GET", "/events", **BEARER) == Admitted("/events")
    assert decide("POST", "/containers/1/stop", **BEARER) == Admitted("/containers/1/stop")


def test_the_page_may_change_things() -> None:
    assert decide("POST", "/place/containers/1/stop", **COOKIE, **OWN) == Admitted("/containers/1/stop")
    by_site = {"sec_fetch_site": "same-origin", "x-portchain": "dashboard"}
    assert decide("POST", "/place/programs/1", **COOKIE, **by_site) == Admitted("/programs/1")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1:8080", "x-portchain": "1"},
        {"origin": "https://127.0.0.1:8000", "x-portchain": "1"},
        {"origin": "http://localhost:8000", "x-portchain": "1"},
        {"origin": "null", "x-portchain": "1"},
        {"origin": "http://127.0.0.1:8000", "sec_fetch_site": "same-site", "x-portchain": "1"},
        {"sec_fetch_site": "cross-site", "x-portchain": "1"},
        {"x-portchain": "1"},
        {"origin": "http://127.0.0.1:8000"},
        {"sec_fetch_site": "same-origin"},
        {},
    ],
)
def test_no_other_page_may_change_things(headers: dict[str, str]) -> None:
    assert status("POST", "/place/containers/1/stop", **COOKIE, **headers) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
def test_no_other_page_may_even_read(site: str) -> None:
    assert status("GET", "/place/events", sec_fetch_site=site, **COOKIE) == 403
    assert status("GET", "/events", sec_fetch_site=site, **BEARER) == 403
    assert status("GET", "/events", origin="http://127.0.0.1:8080", **BEARER) == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "post"])
def test_no_other_methods(method: str) -> None:
    assert status(method, **COOKIE, **BEARER, **OWN) == 405


def test_secrets_are_long_and_each_their_own_and_not_shown() -> None:
    one, other = Guard(1), Guard(1)
    found = {one.token, one.session, one.secret_path, other.token, other.session, other.secret_path}
    assert len(found) == 6
    assert all(len(secret) >= 32 for secret in found)
    assert repr(one) == "Guard(port=1)"
