"""Row 6. Position: whoever gets a certificate of almost the right shape. Wants: to be read as somebody else.

Countermeasure: one URI, compared byte for byte; usage, criticality and the rest of the profile equal, not searched.
"""

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from pharos.wire.pki.roles import Role
from pharos.wire.pki.tls import client_context
from tests.wire.pki import test_shapes as shapes
from tests.wire.pki.test_matrix import HOME, LISTENERS, admit_everybody, gets_in, running

CONTROL = next(listener for listener in LISTENERS if listener.name == "buoy-control")
HELM = HOME.identity(Role.CONTROLLER, "helm")
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH

Change = list[tuple[x509.ExtensionType, bool]]


def named(*uris: str) -> Change:
    return [(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), True)]


# TLS has no opinion on these: the role check stands alone.
PAST_TLS: dict[str, Change | None] = {
    "no usage": None,
    "usage besides": [(x509.ExtendedKeyUsage([CLIENT, SERVER]), False)],
    "two URIs": named(HELM.uri, HOME.identity(Role.NODE).uri),
    "the same URI twice": named(HELM.uri, HELM.uri),
    "upper case": named(HELM.uri.upper()),
    "trailing slash": named(HELM.uri + "/"),
    "escaped slash": named(HELM.uri.replace("/helm", "%2fhelm")),
    "user name": named(HELM.uri.replace("//", "//root@")),
    "port": named(HELM.uri.replace(HOME.id, HOME.id + ":443")),
    "wildcard": named(HELM.uri.replace("helm", "*")),
}


@pytest.mark.parametrize("shape", PAST_TLS)
@pytest.mark.red_inside
async def test_a06_odd_certificate_gets_nowhere(shape: str) -> None:
    change = PAST_TLS[shape]
    forged = HOME.forge(HELM, change=change or (), drop=[] if change else [x509.ExtendedKeyUsage])
    dialler = client_context(trust=HOME.trust, credentials=forged)
    async with running(CONTROL, admit=admit_everybody) as weakened:
        assert await gets_in(weakened, dialler)
    async with running(CONTROL) as target:
        assert not await gets_in(target, dialler)


async def test_a06_the_same_certificate_in_its_right_shape_gets_in() -> None:
    async with running(CONTROL) as target:
        assert await gets_in(target, client_context(trust=HOME.trust, credentials=HOME.forge(HELM)))


def test_a06_names_are_compared_byte_for_byte() -> None:
    shapes.test_names_are_compared_whole_and_byte_for_byte()


def test_a06_usage_is_compared_as_a_list() -> None:
    shapes.test_usage_is_exactly_the_one_of_the_role()
