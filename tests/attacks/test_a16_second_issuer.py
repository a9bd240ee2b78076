"""Row 16. Position: whoever finds one more way to a certificate (CVE-2025-44005). Wants: one issued without asking.

Countermeasure: one module signs certificates, one function of it leaves, on an `Authorization` that one module makes.
"""

from pathlib import Path

import pytest

from pharos.wire.errors import LocalProtocolError
from pharos.wire.pki.issue import issue
from pharos.wire.pki.keys import generate_key
from pharos.wire.pki.policy import Authorization, authorize_issue
from pharos.wire.pki.roles import Role
from tests.support.pki import ground_for, home_fleet, utc_now
from tests.wire.pki import test_policy as policy

HOME = home_fleet()


def test_a16_one_module_issues_and_one_authorizes() -> None:
    policy.test_one_module_makes_certificates()
    policy.test_one_module_makes_authorizations()


@pytest.mark.parametrize(
    "shortcut",
    [
        "from cryptography.x509 import CertificateBuilder as Builder",
        "import cryptography.x509 as x\nx.CertificateBuilder()",
        "from cryptography import x509\ngetattr(x509, 'CertificateBuilder')()",
    ],
)
def test_a16_turns_red_at_a_second_issuer(shortcut: str, tmp_path: Path) -> None:
    (tmp_path / "convenient.py").write_text(shortcut, encoding="utf-8")
    assert policy.modules_naming("CertificateBuilder", tmp_path) == {"convenient.py"}


def test_a16_nothing_is_issued_without_an_authorization() -> None:
    identity = HOME.identity(Role.CONTROLLER)
    granted = authorize_issue(identity, ground_for(identity))

    def ask(authorization: object) -> None:
        issue(
            authorization,  # type: ignore[arg-type]
            generate_key().public_key(),
            ca=HOME.trust.fleet_ca,
            ca_key=HOME.fleet_ca_key,
            now=utc_now(),
            serial=1,
        )

    class Lookalike:
        identity = granted.identity
        ground = granted.ground

    ask(granted)
    for other in (None, identity, Lookalike()):
        with pytest.raises(LocalProtocolError, match="Authorization"):
            ask(other)
    with pytest.raises(LocalProtocolError):
        Authorization(identity=identity, ground=ground_for(identity))


def test_a16_no_ground_justifies_a_role_by_default() -> None:
    policy.test_each_ground_justifies_its_roles_only()
    for role in Role:
        policy.test_renewal_is_for_the_holder_only(role)
