"""Whatever a client sends, exactly the headers of a passage reach helm, and one fingerprint that is the beacon's own.

Attack 18: a client claims to be another device; attack 26: one without a certificate asks for more than to join.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.beacon import sanitize
from pharos.beacon.sanitize import PASSAGE_PATH, Headers, Refusal, forwarded_headers
from pharos.wire.passage.metadata import FINGERPRINT_HEADER, PURPOSE_HEADER
from tests.support.strategies import quick

REAL, FORGED = "a" * 64, "f" * 64
TICKET = "0123456789abcdef"


def request(*more: tuple[str, str], purpose: str | None = "device", **changes: str) -> Headers:
    pseudo = {":method": "POST", ":scheme": "https", ":path": PASSAGE_PATH, ":authority": "r1.r.x.internal"}
    pseudo |= {f":{name}": value for name, value in changes.items()}
    headers = [*pseudo.items(), ("te", "trailers"), ("content-type", "application/grpc")]
    return [*headers, *([] if purpose is None else [(PURPOSE_HEADER, purpose)]), *more]


def spellings_of(name: str) -> list[str]:
    """Ways to write a header that somebody on the way may read as this one."""
    return [
        name,
        name.upper(),
        name.title(),
        name.capitalize(),
        name.replace("device", "Device").replace("passage", "pAssage"),
        name.replace("-", "_"),
        name.upper().replace("-", "_"),
        name.replace("-", "--"),
        name.replace("-", ""),
        name.replace("-", "."),
        name.replace("-", "\u2010"),
        name.replace("-", "%2d"),
        name.replace("x", "\u0445"),
        f"{name}-bin",
        f"{name}_bin",
        f"{name}-BIN",
        f" {name}",
        f"{name} ",
        f"\t{name}",
        f"{name}\t",
        f"{name}\n",
        f"{name}\r\n",
        f"{name}\0",
        f"\0{name}",
        f"{name}:",
        f":{name}",
        f"{name};",
        f"{name}=",
        f"http-{name}",
        f"http_{name}".replace("-", "_"),
        f"grpc-{name}",
        f"x-{name}",
        f"{name}-1",
        f"{name}[]",
        f"{name}*",
        f"{name}\u200b",
        f"\ufeff{name}",
        f"{name}\x7f",
        name + name,
        f"{name},{name}",
    ]


SPELLINGS = spellings_of(FINGERPRINT_HEADER)


def fingerprints_in(headers: Headers) -> list[str]:
    """What a careless reader could take for a fingerprint."""
    return [
        value
        for name, value in headers
        if "".join(filter(str.isalnum, name.lower())).find("pharosdevicefp") >= 0 or value in (REAL, FORGED)
    ]


def test_there_are_forty_spellings_and_all_differ() -> None:
    assert len(set(SPELLINGS)) == 40


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("times", [1, 2])
def test_client_cannot_name_its_own_fingerprint(spelling: str, times: int) -> None:
    headers = forwarded_headers(request(*[(spelling, FORGED)] * times), fingerprint=REAL)
    assert not isinstance(headers, Refusal)
    assert fingerprints_in(headers) == [REAL]
    assert headers.count((FINGERPRINT_HEADER, REAL)) == 1


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_stranger_cannot_name_a_fingerprint_at_all(spelling: str) -> None:
    headers = forwarded_headers(request((spelling, FORGED), purpose=f"enrol.{TICKET}"), fingerprint=None)
    assert not isinstance(headers, Refusal)
    assert fingerprints_in(headers) == []


def test_list_of_what_is_allowed_is_what_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red proof: with a list of what is *not* allowed, most of the spellings come through."""

    class AllBut(frozenset[str]):
        def __contains__(self, name: object) -> bool:
            return name not in {FINGERPRINT_HEADER} and not str(name).startswith(":")

    monkeypatch.setattr(sanitize, "_ALLOWED", AllBut())
    through = 0
    for spelling in SPELLINGS:
        headers = forwarded_headers(request((spelling, FORGED)), fingerprint=REAL)
        assert not isinstance(headers, Refusal)
        through += FORGED in fingerprints_in(headers)
    assert through > 30


@pytest.mark.parametrize("spelling", [name for name in spellings_of(PURPOSE_HEADER) if name != PURPOSE_HEADER])
def test_purpose_in_any_other_spelling_is_none(spelling: str) -> None:
    """Neither does it count, nor does it come along beside the real one."""
    assert forwarded_headers(request((spelling, "device"), purpose=None), fingerprint=REAL) is Refusal.BAD_REQUEST
    headers = forwarded_headers(request((spelling, "device"), purpose="login"), fingerprint=None)
    assert not isinstance(headers, Refusal)
    assert [value for _, value in headers if value in ("device", "login")] == ["login"]


@pytest.mark.parametrize("purposes", [["login", "device"], ["login", "login"], ["device", "device"]])
def test_two_purposes_are_refused(purposes: list[str]) -> None:
    more = [(PURPOSE_HEADER, purpose) for purpose in purposes]
    for fingerprint in (REAL, None):
        assert forwarded_headers(request(*more, purpose=None), fingerprint=fingerprint) is Refusal.BAD_REQUEST


@pytest.mark.parametrize("purpose", [f"enrol.{TICKET}", "login"])
def test_stranger_may_enrol_or_log_in(purpose: str) -> None:
    headers = forwarded_headers(request(purpose=purpose), fingerprint=None)
    assert not isinstance(headers, Refusal)
    assert (PURPOSE_HEADER, purpose) in headers
    assert FINGERPRINT_HEADER not in dict(headers)


def test_stranger_may_nothing_else() -> None:
    assert forwarded_headers(request(purpose="device"), fingerprint=None) is Refusal.NEEDS_CERTIFICATE


def test_check_of_strangers_is_what_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Red proof: were every known purpose open to strangers, one would reach the passage of devices."""
    monkeypatch.setattr(sanitize, "_ANONYMOUS", sanitize._KNOWN)
    assert not isinstance(forwarded_headers(request(purpose="device"), fingerprint=None), Refusal)


@pytest.mark.parametrize(
    "purpose",
    [
        "",
        "Device",
        "device ",
        "device\n",
        "login\n",
        "enrol",
        "enrol.",
        f"enrol.{TICKET[:-1]}",
        f"enrol.{TICKET}0",
        f"enrol.{TICKET.upper()}",
        f"enrol.{TICKET}\n",
        f"enrol.{'g' * 16}",
        f"enrol.{TICKET},device",
        "admin",
        "device,login",
        "device;login",
    ],
)
@pytest.mark.parametrize("fingerprint", [REAL, None])
def test_purpose_that_is_none_is_refused(purpose: str, fingerprint: str | None) -> None:
    assert forwarded_headers(request(purpose=purpose), fingerprint=fingerprint) is Refusal.BAD_REQUEST


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        PASSAGE_PATH + "/",
        PASSAGE_PATH + "/..",
        PASSAGE_PATH + "?x",
        PASSAGE_PATH + "#x",
        PASSAGE_PATH + "\0",
        PASSAGE_PATH.lower(),
        PASSAGE_PATH.upper(),
        "/" + PASSAGE_PATH,
        "." + PASSAGE_PATH,
        "/x/.." + PASSAGE_PATH,
        PASSAGE_PATH.replace("/Open", "%2fOpen"),
        "https://helm" + PASSAGE_PATH,
        "/pharos.buoy.v1.Control/Push",
        "/pharos.relay.v1.Passage/Close",
        "/pharos.account.v1.Enrolment/Claim",
        "/grpc.health.v1.Health/Check",
        "/api/v1/status",
    ],
)
@pytest.mark.parametrize("fingerprint", [REAL, None])
def test_only_the_passage_is_served(path: str, fingerprint: str | None) -> None:
    assert forwarded_headers(request(path=path), fingerprint=fingerprint) is Refusal.UNKNOWN_METHOD


@pytest.mark.parametrize("method", ["GET", "PUT", "CONNECT", "OPTIONS", "post", ""])
def test_only_post_opens_a_passage(method: str) -> None:
    assert forwarded_headers(request(method=method), fingerprint=REAL) is Refusal.UNKNOWN_METHOD


def test_request_without_path_or_method_is_refused() -> None:
    for name in (":path", ":method"):
        headers = [header for header in request() if header[0] != name]
        assert forwarded_headers(headers, fingerprint=REAL) is Refusal.UNKNOWN_METHOD


def test_everything_else_is_dropped_and_the_target_is_helm() -> None:
    noise = [
        ("authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("x-forwarded-for", "127.0.0.1"),
        ("host", "localhost"),
        ("grpc-encoding", "gzip"),
        ("grpc-accept-encoding", "gzip"),
        ("user-agent", "x"),
        (":protocol", "websocket"),
        ("grpc-timeout", "5S"),
    ]
    headers = forwarded_headers(request(*noise, authority="127.0.0.1:8440", scheme="http"), fingerprint=REAL)
    assert headers == [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", PASSAGE_PATH),
        (":authority", "helm"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        (PURPOSE_HEADER, "device"),
        ("grpc-timeout", "5S"),
        (FINGERPRINT_HEADER, REAL),
    ]


@quick
@given(
    st.lists(st.tuples(st.text(max_size=30) | st.sampled_from(SPELLINGS), st.text(max_size=10) | st.just(FORGED))),
    st.sampled_from([REAL, None]),
)
def test_no_header_gets_in_that_is_not_on_the_list(more: Headers, fingerprint: str | None) -> None:
    headers = forwarded_headers(request(*more, purpose="login"), fingerprint=fingerprint)
    if isinstance(headers, Refusal):
        return
    allowed = {":method", ":scheme", ":path", ":authority", "te", "content-type", "grpc-timeout", PURPOSE_HEADER}
    assert {name for name, _ in headers} <= allowed | ({FINGERPRINT_HEADER} if fingerprint else set())
    assert [value for name, value in headers if name == FINGERPRINT_HEADER] == ([REAL] if fingerprint else [])
