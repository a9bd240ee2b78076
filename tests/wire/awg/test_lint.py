import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.conf import InterfaceSection, PeerSection, TunnelConf, render
from pharos.wire.awg.findings import Finding, Severity, quote
from pharos.wire.awg.generate import generate
from pharos.wire.awg.lint import inner_mtu, lint
from pharos.wire.awg.params import Generation
from tests.support.strategies import quick

KEY = base64.b64encode(bytes(range(32))).decode()
GOOD = "Jc = 4\nJmin = 40\nJmax = 90\nS1 = 30\nS2 = 40\nS3 = 50\nS4 = 20\n"
GOOD += "H1 = 101\nH2 = 102\nH3 = 103\nH4 = 104\nMTU = 1400\n"
PEER = f"\n[Peer]\nPublicKey = {KEY}\nAllowedIPs = 0.0.0.0/0\nEndpoint = vpn.example:51820\n"


def findings_of(*lines: str, good: str = GOOD, peer: str = PEER, **settings: object) -> list[str]:
    """Lint a good file in which each of ``lines`` replaces the line of its key."""
    keys = {line.partition(" =")[0] for line in lines}
    kept = [line for line in good.splitlines() if line.partition(" =")[0] not in keys]
    text = "\n".join(["[Interface]", f"PrivateKey = {KEY}", *kept, *lines]) + peer
    return [str(finding) for finding in lint(text, **settings)]


@quick
@given(st.integers(0, 2**32), st.sampled_from(list(Generation)))
def test_a_generated_set_gives_no_cause_for_warnings(seed, generation):
    parameters = generate(random.Random(seed).randbytes, generation)
    interface = InterfaceSection(private_key=b"k" * 32, mtu=1420 - parameters.s4, parameters=parameters)
    peer = PeerSection(public_key=b"p" * 32, allowed_ips=(), endpoint=("2001:db8::1", 51820))
    found = lint(render(TunnelConf(interface=interface, peers=(peer,))), generation=generation)
    assert [finding.key for finding in found] == ["AllowedIPs"]


def test_a_cookie_reply_as_long_as_an_initiation_is_no_amplifier():
    assert not [found for found in findings_of("S1 = 31", "S3 = 113", "S2 = 40") if "cookie" in found]
    # Without cookies nothing is answered.
    assert not [found for found in findings_of("S3 = 115", "DisableCookies = on") if "cookie reply" in found]


def test_plain_wireguard_gives_no_cause_for_warnings():
    assert findings_of(good="") == []
    assert findings_of() == []


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        (["Jc = 0"], "Jc = 0: nothing goes before the initiation"),
        (["Jc = 3"], "Jc = 3: from 4 to 12 are advised"),
        (["Jc = 13"], "Jc = 13: from 4 to 12 are advised"),
        (["Jc = 127"], "Jc = 127: from 4 to 12 are advised"),
        (["Jc = 127", "I3 = <t>"], "Jc = 127: with 1 I packets more than 127 go before an initiation"),
        (["Jmin = 0", "Jmax = 0"], "Jmax = 0: makes no junk at all"),
        (["Jmin = 90"], "Jmax = 90: makes all junk of one size"),
        (["S1 = 0"], "S1 = 0: leaves the message WireGuard's own size, 148 bytes"),
        (["S3 = 115"], "S3 = 115: a cookie reply of 179 bytes answers an initiation of 178"),
        (["S3 = 0"], "S3 = 0: leaves the message WireGuard's own size, 64 bytes"),
        (["H4 = 4"], "H4 = 4: leaves the message WireGuard's own type field"),
        (["H1 = 2147483648"], "H1 = 2147483648: some tools take numbers up to 2147483647"),
        (["S1 = 32", "H1 = 1000-1000000"], "H1 = 1000-1000000: one transport message of 180 bytes in 4299"),
        (["ContentPaddingAddition = 0-9", "H2 = 1000-1000000"], "one transport message of 132 bytes in 4299"),
        (
            ["RandomTrailers = on", "ContentPaddingAddition = 9", "H3 = 1000-1000000"],
            "one transport message from 114 bytes in 4299",
        ),
        (["I1 = <r 8><c>"], "I1 = <c>: AmneziaWG's Go engine from 0.2.16 on refuses it"),
        (["I2 = <r 1473>"], "I2 = (1473 bytes): is sent in fragments on a path of 1500"),
        (["RandomTrailers = on"], "RandomTrailers = on: fills every packet up to the largest one"),
        (["DisableCookies = on"], "DisableCookies = on: a flood of initiations then shuts out honest peers"),
        (
            ["RejectAfterTime = 15"],
            "RejectAfterTime = 15: is not above KeepaliveTimeout and RekeyTimeout together, 10 + 5",
        ),
        (["RekeyAfterTime = 120-165"], "RekeyAfterTime = 120-165: above 164 the next session may come too late"),
        (
            ["KeepaliveTimeout = 5-10"],
            "KeepaliveTimeout = 5-10: a peer that answers after 10 is taken for dead after 10",
        ),
        (["MTU = 1421"], "MTU = 1421: at most 1420 bytes fit a path of 1500 with S4 = 20"),
        (["S4 = 45", "MTU = 1396"], "MTU = 1396: at most 1395 bytes fit a path of 1500 with S4 = 45"),
        (["SaveConfig = true"], "SaveConfig = true: the file is overwritten"),
        (["PostUp = true"], "PostUp: is run by root's shell"),
    ],
)
def test_what_works_and_is_unwise_is_warned_of_with_its_line(lines, warning):
    (found,) = findings_of(*lines)
    assert warning in found
    assert found.startswith("line ") or "PostUp" in found


@pytest.mark.parametrize(
    "lines",
    [
        ["H1 = 1000-1000000"],  # No transport message has the size of an initiation.
        ["S1 = 20", "H1 = 1000-1000000", "RandomTrailers = on", "ContentPaddingAddition = 0-9"],  # S1 = S4.
        ["RandomTrailers = on", "ContentPaddingAddition = 0-9", "H3 = 1000-60000"],
        ["I1 = <r 1472>"],
        ["RekeyAfterTime = 120-164"],
        ["KeepaliveTimeout = 6-10"],
        ["RejectAfterTime = 200", "RekeyAfterTime = 184"],
        ["MTU = 1420"],
        ["Jc = 0", "I1 = <r 100>"],
    ],
)
def test_the_edge_of_each_warning_is_quiet(lines):
    assert findings_of(*lines) == []


def test_an_end_that_never_initiates_needs_no_junk():
    assert findings_of("Jc = 0", peer=PEER.replace("Endpoint", "# ")) == []


def test_peers_are_looked_at_with_their_lines():
    text = f"[Interface]\nPrivateKey = {KEY}\n[Peer]\nPublicKey = {KEY}\nAllowedIPs = 10.0.0.0/8, ::/0\n"
    text += (
        f"[Peer]\nPublicKey = {KEY[:-2]}A=\nAllowedIPs = 10.9.9.9/8\nAdvancedSecurity = on\nPersistentKeepalive = 2-3\n"
    )
    text += f"[Peer]\nPublicKey = {KEY[:-4]}AAA=\n"
    assert [str(finding) for finding in lint(text, generation=Generation.V2_0)] == [
        "line 6: AllowedIPs = 10.0.0.0/8: is taken away from peer 1, which has it too",
        "line 6: AdvancedSecurity: means nothing to any engine of today",
        "line 6: PersistentKeepalive = 2-3: needs AmneziaWG 3.0, and the peer speaks 2.0",
        "line 11: AllowedIPs: there are none: nothing is routed to this peer, and nothing taken from it",
    ]


def test_what_a_peer_does_not_know_is_an_error():
    found = lint(
        f"[Interface]\nS3 = 5\nHeaderProtectionKey = {KEY}\nS1 = 50\nS2 = 60\nS4 = 12\n", generation=Generation.V1_5
    )
    assert [finding.severity for finding in found] == [Severity.ERROR]
    (error,) = found
    assert "S3 = 5: must be at least 12" in str(error)
    settings = f"HeaderProtectionKey = {KEY}"
    errors = [one for one in findings_of(settings, generation=Generation.V1_5) if "needs" in one]
    assert [one.partition(": ")[2] for one in errors] == [
        "S3 = 50: needs AmneziaWG 2.0, and the peer speaks 1.5",
        "S4 = 20: needs AmneziaWG 2.0, and the peer speaks 1.5",
        "HeaderProtectionKey = (hidden): needs AmneziaWG 3.0, and the peer speaks 1.5",
    ]
    older = findings_of("S3 = 0", "S4 = 0", "I1 = <r 1001><t><t>", generation=Generation.V1_5)
    assert ["1000 bytes in one part" in one or "takes one <t>" in one for one in older] == [True, True]


def test_a_path_may_be_smaller_and_reached_over_ipv4_or_ipv6():
    assert inner_mtu(1500, 0, ipv6=True) == 1420
    assert inner_mtu(1500, 20, ipv6=False) == 1420
    (found,) = findings_of("MTU = 1313", path_mtu=1400, peer=PEER.replace("vpn.example", "[::1]"))
    assert "at most 1300 bytes fit a path of 1400" in found
    (found,) = findings_of(good=GOOD.replace("MTU = 1400\n", "").replace("S4 = 20", "S4 = 41"))
    assert found == "MTU: at most 1399 bytes fit a path of 1500 with S4 = 41"


def test_errors_come_alone_for_the_rest_cannot_be_judged():
    found = lint("[Interface]\nJc = 1\nS1 = x\n")
    assert [(finding.severity, finding.line) for finding in found] == [(Severity.ERROR, 3)]


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("a b", "a b"),
        ("", "''"),
        (" a", "' a'"),
        ("a\nb", r"'a\nb'"),
        ("x" * 61, "x" * 60 + "…"),
        ("\x1b[2J", r"'\x1b[2J'"),
    ],
)
def test_a_quoted_text_is_short_and_moves_no_cursor(text, quoted):
    assert quote(text) == quoted


def test_a_finding_reads_as_a_sentence():
    assert str(Finding(severity=Severity.ERROR, key="S1", value="7", rule="is odd", line=3)) == "line 3: S1 = 7: is odd"
    assert str(Finding(severity=Severity.ERROR, key="S1", value="", rule="is odd")) == "S1: is odd"
