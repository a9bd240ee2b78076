"""Logins that wait for a code: one code, one login, once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pharos.helm.accounts import waiting
from pharos.helm.accounts.waiting import (
    ALPHABET,
    CODE_LENGTH,
    WaitingLogin,
    WaitingLogins,
    draw_code,
    read_code,
    show_code,
)
from pharos.helm.errors import BusyError, NotFoundError
from pharos.wire.ids import RelayId

GATE = RelayId("gate")
ADA = "ada's id"


@contextmanager
def one_waits(logins: WaitingLogins, user_id: str | None = ADA) -> Iterator[WaitingLogin]:
    with logins.waiting(user_id=user_id, user_name="ada", device_name="laptop", relay_id=GATE, at=1) as login:
        yield login


def test_code_can_be_read_out_and_typed_in_any_way() -> None:
    code = draw_code()
    assert len(code) == CODE_LENGTH
    assert set(code) <= set(ALPHABET)
    shown = show_code(code)
    for typed in (shown, shown.lower(), f" {shown} ", shown.replace("-", " "), shown.replace("-", "")):
        assert read_code(typed) == code
    assert code not in repr(
        WaitingLogin(code=code, user_id=None, user_name="", device_name="", relay_id=GATE, asked_at=0)
    )


def test_login_is_found_by_its_code_while_it_waits() -> None:
    logins = WaitingLogins()
    with one_waits(logins) as login:
        assert logins.find(login.code) is login
        assert logins.find(login.code, user_id=ADA) is login
        with pytest.raises(NotFoundError):
            logins.find(login.code, user_id="eve's id")
        with pytest.raises(NotFoundError):
            logins.find("")
    with pytest.raises(NotFoundError):
        logins.find(login.code)


def test_address_that_nobody_has_waits_for_nobody() -> None:
    logins = WaitingLogins()
    with one_waits(logins, None) as login, pytest.raises(NotFoundError):
        logins.find(login.code)


def test_code_that_is_in_use_is_not_drawn_again() -> None:
    drawn = iter(["BBBBBBBB", "BBBBBBBB", "CCCCCCCC"])
    logins = WaitingLogins(lambda: next(drawn))
    with one_waits(logins) as first, one_waits(logins) as second:
        assert (first.code, second.code) == ("BBBBBBBB", "CCCCCCCC")


def test_code_is_good_once() -> None:
    logins = WaitingLogins()
    with one_waits(logins) as login:
        with logins.confirming(login, "grace"):
            with pytest.raises(NotFoundError):
                logins.find(login.code)
            assert not login.confirmed.is_set(), "not before it is written down"
        assert (login.confirmed.is_set(), login.confirmed_by) == (True, "grace")
        with pytest.raises(NotFoundError, match="already"), logins.confirming(login, "eve"):
            pass
    assert login.confirmed_by == "grace"


def test_confirmation_that_fails_leaves_the_login_waiting() -> None:
    logins = WaitingLogins()
    with one_waits(logins) as login:
        with pytest.raises(ZeroDivisionError), logins.confirming(login, "grace"):
            raise ZeroDivisionError
        assert logins.find(login.code) is login
        assert not login.confirmed.is_set()


def test_confirmation_that_fails_brings_no_login_back_that_has_gone() -> None:
    logins = WaitingLogins()
    held = one_waits(logins)
    login = held.__enter__()
    with pytest.raises(ZeroDivisionError), logins.confirming(login, "grace"):
        held.__exit__(None, None, None)
        raise ZeroDivisionError
    assert not logins._waiting


def test_beacon_has_so_many_places_and_others_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PER_BEACON", 1)
    logins = WaitingLogins()
    with logins.passage(GATE):
        with pytest.raises(BusyError), logins.passage(GATE):
            pass
        with logins.passage(RelayId("other")):
            pass
    with logins.passage(GATE):
        pass
    assert not logins._passages
