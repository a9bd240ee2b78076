"""Who may use the desk on loopback: one browser, by the link of this run, and no other page in it."""

from __future__ import annotations

import pytest

from pharos.caravel.admin import guard, kept
from pharos.caravel.admin.guard import Guard, TurnedAwayError, passed
from pharos.helm.relay import adminscope
from pharos.helm.web.guard import CALLBACK
from pharos.helm.web.session import COOKIE, CSRF_HEADER

HOST = ("host", "localhost:9000")


def cookie_of(page: Guard) -> tuple[str, str]:
    return "cookie", page.cookie.partition(";")[0]


def test_link_opens_once() -> None:
    page = Guard(port=9000)
    target = page.link.removeprefix(page.address)
    assert page.address == "http://localhost:9000"
    assert not page.opens("POST", target)
    assert not page.opens("GET", target + "x")
    assert not page.opens("GET", "/open/")
    assert page.opens("GET", target)
    assert not page.opens("GET", target)
    assert page.opens("GET", page.link.removeprefix(page.address))


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("host", "localhost")],
        [("host", "localhost:9001")],
        [("host", "evil.example:9000")],
        [HOST, ("host", "127.0.0.1:9000")],
        [HOST, ("origin", "http://localhost:9001")],
        [HOST, ("origin", "https://localhost:9000")],
        [HOST, ("origin", "http://127.0.0.1:9000")],
        [HOST, ("origin", "null")],
        [HOST, ("origin", "http://localhost:9000"), ("origin", "http://evil.example")],
    ],
)
def test_other_hosts_and_other_pages_are_turned_away(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(TurnedAwayError):
        Guard(port=9000).check_site(tuple(headers))


def test_own_page_is_let_in_by_either_name() -> None:
    page = Guard(port=9000)
    page.check_site((HOST, ("origin", "http://localhost:9000")))
    page.check_site((("host", "127.0.0.1:9000"), ("origin", "http://127.0.0.1:9000")))
    page.check_site((HOST,))


def test_every_request_carries_the_cookie_of_this_run() -> None:
    page, other = Guard(port=9000), Guard(port=9000)
    page.check_page("POST", "/api/v1/users", (("cookie", f'odd="; {cookie_of(page)[1]}; x=1'),))
    for headers in ((), (cookie_of(other),), (("cookie", "caravel_desk_9000="),)):
        with pytest.raises(TurnedAwayError, match="open the link"):
            page.check_page("GET", "/", headers)


@pytest.mark.parametrize(("method", "target"), [("POST", "/"), ("GET", "/api/v1/users")])
def test_another_sites_page_asks_for_nothing_but_the_page(method: str, target: str) -> None:
    page = Guard(port=9000)
    for site in ("cross-site", "same-site"):
        with pytest.raises(TurnedAwayError, match="another site"):
            page.check_page(method, target, (cookie_of(page), ("sec-fetch-site", site)))
    page.check_page(method, target, (cookie_of(page), ("sec-fetch-site", "same-origin")))


def test_helm_hears_nothing_of_what_is_between_browser_and_caravel() -> None:
    told = passed(
        (
            HOST,
            ("origin", "http://localhost:9000"),
            ("cookie", "caravel_desk_9000=secret; pharos_session=x; theme=dark"),
            ("x-pharos-csrf", "y"),
            ("x-pharos-csrf", "z"),
            ("x-forwarded-for", "1.2.3.4"),
        )
    )
    assert told == (("cookie", "pharos_session=x"), ("x-pharos-csrf", "y"))


def test_window_comes_back_from_single_sign_on() -> None:
    page = Guard(port=9000)
    window = ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")
    cross = cookie_of(page), ("sec-fetch-site", "cross-site")
    page.check_page("GET", f"{guard.CALLBACK}?code=x", (*cross, *window))
    for method, target, more in (
        ("POST", guard.CALLBACK, window),
        ("GET", f"{guard.CALLBACK}/../users", window),
        ("GET", guard.CALLBACK, window[:1]),
        ("GET", guard.CALLBACK, ()),
    ):
        with pytest.raises(TurnedAwayError, match="another site"):
            page.check_page(method, target, (*cross, *more))


def test_both_ends_know_the_same_headers_and_paths() -> None:
    assert (guard.PASSED, guard.COOKIES) == (adminscope.HEADERS, adminscope.COOKIES)
    assert (CALLBACK, COOKIE, CSRF_HEADER.lower()) == (guard.CALLBACK, kept.SESSION_COOKIE, kept.CSRF_HEADER)
