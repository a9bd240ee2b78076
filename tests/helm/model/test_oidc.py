"""What may be set about an OpenID provider, and which role groups give."""

from __future__ import annotations

from typing import Any

import pytest

from pharos.helm.model.admins import Role
from pharos.helm.model.oidc import MAX_MAPPED, check_url, highest_role
from pharos.helm.model.settings import KNOWN, SET_BY_OWNERS

GOOD: dict[str, list[Any]] = {
    "oidc.issuer": [
        "",
        "https://id.example",
        "https://id.example/realms/office/",
        "https://id.example:8443/x",
        "http://localhost:9000",
        "http://127.0.0.1",
        "http://[::1]:80/a",
    ],
    "oidc.client_id": ["", "pharos", "0oa1-b2.c3@example"],
    "oidc.roles": [[], ["vpn=owner"], ["cn=vpn,dc=example=admin", "Ärzte der Nacht=viewer"]],
    "oidc.groups_claim": ["groups", "https://example.org/groups"],
    "oidc.users": [True, False],
}
BAD: dict[str, list[Any]] = {
    "oidc.issuer": [
        "id.example",
        "https://",
        "http://id.example",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "https://id.example?tenant=1",
        "https://id.example?",
        "https://id.example#x",
        "https://user@id.example",
        "https://id.example:99999",
        "https://id.example:0",
        "https://id.exämple",
        "https://id.example /x",
        "https://id.example\\@evil.example",
        "ftp://localhost",
        "https://id.example/" + "x" * 500,
        ["https://id.example"],
        7,
        None,
        True,
    ],
    "oidc.client_id": [" x", "x\n", "ä", "x" * 257, [], 1],
    "oidc.roles": [
        ["vpn"],
        ["vpn=root"],
        ["vpn=Owner"],
        ["=owner"],
        [" vpn=owner"],
        ["a\nb=owner"],
        ["vpn=owner", "vpn=owner"],
        ["x" * 257 + "=owner"],
        [7],
        "vpn=owner",
        [f"g{number}=viewer" for number in range(MAX_MAPPED + 1)],
    ],
    "oidc.groups_claim": ["", " ", 1, []],
    "oidc.users": ["true", 1, None],
}


@pytest.mark.parametrize("name", sorted(SET_BY_OWNERS - {"admins.password"}))
def test_setting_is_what_it_may_be(name: str) -> None:
    known = KNOWN[name]
    assert [value for value in GOOD[name] if not known.check(value)] == []
    assert [value for value in BAD[name] if known.check(value)] == []
    assert known.check(known.personal)
    assert known.check(known.enterprise)


def test_every_setting_of_the_provider_is_set_by_owners() -> None:
    assert {name for name in KNOWN if name.startswith("oidc.")} == SET_BY_OWNERS - {"admins.password"}


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        ((), None),
        (("none",), None),
        (("staff",), Role.VIEWER),
        (("staff", "vpn"), Role.OPERATOR),
        (("vpn", "staff", "x=y"), Role.ADMIN),
        (("STAFF", "staff ", "taff"), None),
        (("owner", "admin"), None),
    ],
)
def test_highest_role_of_the_groups_counts(groups: tuple[str, ...], role: Role | None) -> None:
    assert highest_role(groups, ["staff=viewer", "vpn=operator", "x=y=admin"]) is role


@pytest.mark.parametrize("text", ["https://id.example/a?b=c", "https://[2001:db8::1]/"])
def test_endpoint_may_have_a_query(text: str) -> None:
    assert check_url(text, plain=False) == text


@pytest.mark.parametrize("text", ["http://localhost/", "https://x/#f", "https:///x", "javascript:alert(1)", "data:,x"])
def test_endpoint_of_a_provider_elsewhere_is_https(text: str) -> None:
    with pytest.raises(ValueError):
        check_url(text, plain=False)
