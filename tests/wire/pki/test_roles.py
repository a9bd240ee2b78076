import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.ids import FleetId
from pharos.wire.pki.roles import CONTROL, INGRESS, TUNNEL, WEB, Authority, Identity, Role, parse_identity

FLEET = FleetId("0123456789abcdef")
ids = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@given(role=st.sampled_from(Role), member=ids)
def test_identity_survives_its_uri(role: Role, member: str) -> None:
    identity = Identity(fleet=FLEET, role=role, id=member)
    assert parse_identity(identity.uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://0123456789ABCDEF/node/one",
        "SPIFFE://0123456789abcdef/node/one",
        "spiffe://0123456789abcdef/Node/one",
        "spiffe://0123456789abcdef/node/One",
        "spiffe://0123456789abcdef/node/one/",
        "spiffe://0123456789abcdef/node//one",
        "spiffe://0123456789abcdef//node/one",
        "spiffe://0123456789abcdef/node%2fone",
        "spiffe://0123456789abcdef/node/one%2f..",
        "spiffe://0123456789abcdef/node/../controller/one",
        "spiffe://helm@0123456789abcdef/node/one",
        "spiffe://0123456789abcdef:443/node/one",
        "spiffe://0123456789abcdef/node/*",
        "spiffe://0123456789abcdef/node/",
        "spiffe://0123456789abcdef/node/-one",
        "spiffe://0123456789abcdef/node/" + "a" * 64,
        "spiffe://0123456789abcdef/node/one?role=controller",
        "spiffe://0123456789abcdef/node/one#",
        "spiffe://0123456789abcdef/node/one\n",
        "spiffe://0123456789abcde/node/one",
        "spiffe://0123456789abcdef0/node/one",
        "spiffe://0123456789abcdef/root/one",
        "https://0123456789abcdef/node/one",
        " spiffe://0123456789abcdef/node/one",
        "",
    ],
)
def test_another_spelling_names_nobody(uri: str) -> None:
    with pytest.raises(ValueError):
        parse_identity(uri)


@given(text=st.text())
def test_a_parsed_uri_is_the_one_that_is_written(text: str) -> None:
    try:
        identity = parse_identity(text)
    except ValueError:
        return
    assert identity.uri == text


def test_only_servers_have_a_dns_name() -> None:
    names = {role: Identity(fleet=FLEET, role=role, id="one").dns_name for role in Role}
    assert names == {
        Role.NODE: "one.n.0123456789abcdef.internal",
        Role.RELAY: "one.r.0123456789abcdef.internal",
        Role.CONTROLLER: None,
        Role.DEVICE: None,
        Role.ADMIN: None,
    }


@pytest.mark.parametrize("member", ["", "One", "a.b", "a_b", "-a", "a-", "ä", "a" * 64])
def test_an_id_is_one_lower_case_label(member: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        Identity(fleet=FLEET, role=Role.NODE, id=member)


def test_each_listener_has_one_authority() -> None:
    authorities = {policy.name: policy.authority for policy in (CONTROL, TUNNEL, INGRESS, WEB)}
    assert authorities == {
        "control": Authority.FLEET,
        "tunnel": Authority.FLEET,
        "ingress": Authority.DEVICE,
        "web": Authority.DEVICE,
    }
