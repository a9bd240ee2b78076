"""What a browser began waits for ten minutes, once, and there is room for so many."""

from __future__ import annotations

import itertools

import pytest

from pharos.helm.accounts.oidc import codeflow
from pharos.helm.accounts.oidc.codeflow import Begun, Flows
from pharos.helm.accounts.oidc.metadata import Metadata
from pharos.helm.errors import NotSignedInError
from pharos.helm.model.oidc import Client

ISSUER = "https://id.example"
CLIENT = Client(issuer=ISSUER, client_id="pharos")
METADATA = Metadata(
    issuer=ISSUER,
    authorization_endpoint=f"{ISSUER}/authorize?tenant=one",
    token_endpoint=f"{ISSUER}/token",
    jwks_uri=f"{ISSUER}/keys",
    device_authorization_endpoint="",
    userinfo_endpoint="",
    secret_in_form=False,
    names_itself=False,
)
MINUTE = 60.0


def begin(flows: Flows, now: float, name: str) -> Begun:
    words = itertools.count()
    return flows.begin(CLIENT, METADATA, "http://localhost:8440/back", now=now, draw=lambda _n: f"{name}{next(words)}")


def take(flows: Flows, begun: Begun, name: str, now: float) -> str:
    return flows.take({"state": f"{name}0", "code": "c"}, begun.cookie, now=now)[0].verifier


def test_endpoint_keeps_its_own_query() -> None:
    url = begin(Flows(), 0.0, "a").url
    assert url.startswith(f"{ISSUER}/authorize?tenant=one&")
    assert "state=a0" in url
    # The challenge of "a2", not itself (RFC 7636 §4.2).
    assert "a2" not in url


def test_way_back_is_open_for_ten_minutes() -> None:
    flows = Flows()
    begun = begin(flows, 0.0, "a")
    assert take(flows, begun, "a", 10 * MINUTE - 1) == "a2"
    begun = begin(flows, 0.0, "b")
    with pytest.raises(NotSignedInError):
        take(flows, begun, "b", 10 * MINUTE)


def test_newest_push_the_oldest_out() -> None:
    flows = Flows()
    begun = [begin(flows, float(number) / 1000, f"{number}-") for number in range(codeflow.MAX_PENDING + 10)]
    assert len(flows._pending) == codeflow.MAX_PENDING
    with pytest.raises(NotSignedInError):
        take(flows, begun[9], "9-", 1.0)
    assert take(flows, begun[10], "10-", 1.0)
    assert take(flows, begun[-1], f"{len(begun) - 1}-", 1.0)
    begin(flows, 20 * MINUTE, "late")
    assert len(flows._pending) == 1


@pytest.mark.parametrize("answer", [{}, {"code": ""}, {"code": "x" * 4097}, {"error": "x\ny"}, {"iss": "https://evil"}])
def test_answer_without_a_code_is_refused_and_used_up(answer: dict[str, str]) -> None:
    flows = Flows()
    begun = begin(flows, 0.0, "a")
    with pytest.raises(NotSignedInError) as caught:
        flows.take({"state": "a0"} | answer, begun.cookie, now=1.0)
    assert "\n" not in str(caught.value)
    with pytest.raises(NotSignedInError):
        take(flows, begun, "a", 1.0)
