import ipaddress
import shutil
import subprocess

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.awg.conf import Hook, HookTime, InterfaceSection, TunnelConf, render
from pharos.wire.awg.confread import MAX_CONF_CHARACTERS, parse, read
from pharos.wire.awg.params import PLAIN
from pharos.wire.awg.ranges import Range
from pharos.wire.errors import ParameterError
from tests.support.strategies import quick
from tests.wire.awg.confs import confs, hooks

PRIVATE = "YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PUBLIC = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
PRESHARED = "2kY8UDFIZeGXSSzKpkvvGfHWPbPn4pKzYfHLF9Kvnqo="

FULL = f"""\
# A node of ours.
[Interface]
PrivateKey = {PRIVATE}
Address = 10.8.0.2/32, fd00::2/128
address=10.9.0.2
DNS = 1.1.1.1, corp.example
MTU = 1380
Jc = 4
Jmin = 40
Jmax = 70
S1 = 30
S2 = 40   # bytes
S3 = 50
S4 = 20
H1 = 100-200
H2 = 300
H3 = 0
H4 = 500-600
I1 = <b 0xc0ff><r 16> <
I2 =
HeaderProtectionKey = {PRESHARED}
RekeyAfterTime = 100-120
RekeyTimeout = 0
RandomTrailers = on
DisableCookies = off

[Peer]
publickey = {PUBLIC}
PresharedKey = {PRESHARED}
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = [2001:db8::7]:51820
PersistentKeepalive = 20-30
AdvancedSecurity = on
""".replace("<r 16> <", "<r 16>")


def test_a_file_of_every_kind_of_key_is_read():
    conf = parse(FULL)
    interface = conf.interface
    assert interface.addresses == tuple(map(ipaddress.ip_interface, ["10.8.0.2/32", "fd00::2/128", "10.9.0.2/32"]))
    assert interface.dns == ("1.1.1.1", "corp.example")
    assert interface.mtu == 1380
    assert interface.parameters.as_mapping() == {
        "jc": 4,
        "jmin": 40,
        "jmax": 70,
        "s1": 30,
        "s2": 40,
        "s3": 50,
        "s4": 20,
        "h1": "100-200",
        "h2": 300,
        "h3": 3,
        "h4": "500-600",
        "i1": "<b 0xc0ff><r 16>",
        "header_protection_key": PRESHARED,
        "rekey_after_time": "100-120",
        "random_trailers": True,
    }
    (peer,) = conf.peers
    assert peer.endpoint == ("2001:db8::7", 51820)
    assert peer.persistent_keepalive == Range(20, 30)
    assert peer.advanced_security is True
    assert [str(network) for network in peer.allowed_ips] == ["0.0.0.0/0", "::/0"]


@quick
@given(confs, st.lists(hooks, max_size=2).map(tuple))
def test_a_configuration_survives_its_file(conf, commands):
    conf = attrs.evolve(conf, interface=attrs.evolve(conf.interface, hooks=commands))
    text = render(conf, hooks=True)
    assert parse(text, hooks=True) == conf
    assert render(parse(text, hooks=True), hooks=True) == text


def test_defaults_write_nothing():
    assert render(TunnelConf()) == "[Interface]\n"
    assert parse("") == parse("[Interface]\n") == TunnelConf()
    assert parse("[Interface]\nFwMark = off\nTable = auto\nH1 = 0\nJc = 0\n").interface == InterfaceSection()


@pytest.mark.parametrize("time", HookTime)
def test_a_hook_is_refused_unless_it_is_asked_for(time):
    text = f"[Interface]\n{time.value} = touch /tmp/canary\n"
    with pytest.raises(ParameterError, match=f"line 2: {time.value} = touch /tmp/canary: must be asked for"):
        parse(text)
    conf = parse(text, hooks=True)
    assert conf.interface.hooks == (Hook(time, "touch /tmp/canary"),)
    with pytest.raises(ParameterError, match="must be asked for"):
        render(conf)
    assert render(conf, hooks=True) == text


@pytest.mark.parametrize("command", ["", " x", "x ", "a\nb", "a\rb", "a\x00b", "echo # b", "x" * 4097, "a\u2028b"])
def test_a_hook_is_one_line(command):
    with pytest.raises(ParameterError, match="PostUp = "):
        Hook(HookTime.POST_UP, command)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("Jc = 129", "line 2: Jc = 129: must be from 0 to 128"),
        ("Jc = -1", "line 2: Jc = -1: must be a whole number from 0 to 65535"),
        ("Jc = 4.5", "line 2: Jc = 4.5: must be a whole number from 0 to 65535"),
        ("Jc = 4\njc = 4", "line 3: Jc = 4: must be said once, and line 2 did"),
        ("H1 = 9-8", "line 2: H1 = 9-8: its first number must not be above its second"),
        ("I3 = <t><x>", "line 2: I3 = '…<x>': must be a sequence of"),
        ("S3 = 84", "line 2: S3 = 84: makes its message 148 bytes long, as long as that of s1"),
        ("RandomTrailers = maybe", "line 2: RandomTrailers = maybe: must be on or off"),
        ("Jd = 4", "line 2: Jd: is no key of [Interface]"),
        ("Endpoint = a:1", "line 2: Endpoint: is no key of [Interface]"),
        ("hello", "line 2: hello: must be [Interface], [Peer] or Key = value"),
        ("MTU = 67", "line 2: MTU = 67: must be a whole number from 68 to 65535"),
        ("Table = a b", "line 2: Table = a b: must be auto, off, or a routing table's number or name"),
        ("Table = 99999999999", "line 2: Table = 99999999999: must be auto"),
        ("DNS = 1.2.3.400", "line 2: DNS = 1.2.3.400: must be an IP address or a search domain"),
        ("Address = 10.0.0.0/255.0.0.0", "line 2: Address = 10.0.0.0/255.0.0.0: must be an IP address with a prefix"),
        ("[Interface]", "line 2: [Interface]: must be there once"),
        ("[Peer]", "line 2: [Peer]: must have a PublicKey"),
        ("[Peer]\nPublicKey = abc", "line 3: PublicKey = abc: must be 32 bytes in base64"),
        (f"[Peer]\nPublicKey = {PUBLIC[:-2]}h=", "must be 32 bytes in base64"),
        (f"[Peer]\nPublicKey = {PUBLIC}\n[Peer]\nPublicKey = {PUBLIC}", "line 4: [Peer]: must have another PublicKey"),
        ("[Peer]\nEndpoint = a b:1", "line 3: Endpoint = a b:1: must be host:port or [IPv6]:port"),
        ("[Peer]\nEndpoint = 2001:db8::1:1", "must be host:port or [IPv6]:port"),
        ("[Peer]\nEndpoint = a.example:0", "must be host:port or [IPv6]:port"),
        ("[Peer]\nEndpoint = [fe80::1%a/b]:1", "must be host:port or [IPv6]:port"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/33", "AllowedIPs = 10.0.0.0/33: must be an IP address, or a network"),
        ("[Peer]\nPersistentKeepalive = 0-5", "must be off, or seconds from 1 to 65535"),
        ("[Peer]\nPostUp = x", "line 3: PostUp: is no key of [Peer]"),
    ],
)
def test_an_error_names_line_key_value_and_rule(line, error):
    text = f"[Interface]\n{line}\n"
    found = [str(finding) for finding in read(text).findings]
    assert any(error in one for one in found), found
    with pytest.raises(ParameterError) as caught:
        parse(text)
    assert str(caught.value) == found[0]


@pytest.mark.parametrize("line", [f"PrivateKey = {PRIVATE}x", f"HeaderProtectionKey = x{PRIVATE}"])
def test_a_secret_is_shown_by_no_error_and_no_repr(line):
    with pytest.raises(ParameterError, match=r"\(hidden\)") as caught:
        parse(f"[Interface]\n{line}\n")
    assert PRIVATE not in str(caught.value)
    assert not any(secret in repr(parse(FULL)) for secret in (PRIVATE, PRESHARED))


def test_every_error_of_a_file_is_found_in_its_order():
    text = "Jc = 1\n[Interface]\nS1 = 9999\nWhat = 1\nMTU = 0\n[Peer]\n[Peer]\nAllowedIPs = x, y\n"
    reading = read(text)
    assert reading.conf is None
    assert [(finding.line, finding.key) for finding in reading.findings] == [
        *[(1, "Jc"), (3, "S1"), (4, "What"), (5, "MTU"), (6, "[Peer]"), (7, "[Peer]")],
        *[(8, "AllowedIPs"), (8, "AllowedIPs")],
    ]


def test_a_file_too_large_is_not_looked_at():
    with pytest.raises(ParameterError, match="must have at most"):
        parse("#" * (MAX_CONF_CHARACTERS + 1))


def test_only_a_line_feed_ends_a_line():
    with pytest.raises(ParameterError, match=r"Table = 'off\\u2028PostUp = touch x'"):
        parse("[Interface]\nTable = off\u2028PostUp = touch x\n")
    assert parse("\ufeff[interface]\r\nMTU = 1400\r\n").interface.mtu == 1400


lines = (
    st.sampled_from(FULL.splitlines()) | st.text(max_size=30) | st.sampled_from(["[Peer]", "PostUp = x", "H1 = 1-2"])
)


@quick
@given(st.lists(lines, max_size=20).map("\n".join))
def test_whatever_a_file_holds_it_is_read_or_refused(text):
    reading = read(text)
    assert (reading.conf is None) == bool(reading.findings)
    if reading.conf is not None:
        assert parse(render(reading.conf)) == reading.conf


@pytest.mark.skipif(shutil.which("wg-quick") is None, reason="wireguard-tools are not installed")
def test_wg_quick_strips_our_file_to_what_wg_can_read(tmp_path):
    conf = attrs.evolve(parse(FULL), interface=attrs.evolve(parse(FULL).interface, parameters=PLAIN))
    conf = attrs.evolve(conf, peers=[attrs.evolve(conf.peers[0], persistent_keepalive=None, advanced_security=None)])
    path = tmp_path / "wg7.conf"
    path.write_text(render(conf))
    path.chmod(0o600)
    stripped = subprocess.run(["wg-quick", "strip", path], check=True, capture_output=True, text=True).stdout
    assert parse(stripped) == TunnelConf(
        interface=InterfaceSection(private_key=conf.interface.private_key), peers=tuple(conf.peers)
    )
