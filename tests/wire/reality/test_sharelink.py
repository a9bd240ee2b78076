import base64

import attrs
import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st

from pharos.wire.errors import LinkFormatError
from pharos.wire.reality.addresses import Address
from pharos.wire.reality.sharelink import FINGERPRINTS, MAX_LINK, UDP443_FLOW, ShareLink, qr_svg, qr_text
from pharos.wire.reality.vless import Flow
from tests.support.strategies import keys, labels, quick
from tests.wire.reality.proxied import USER_ID

UUID = "dabf1c7a-b0e8-431f-af3b-b7ee860e75ec"
PBK = "o3rFEOF1WyN_WojBF5j8E72OiggPNUh6wmVMVPJpEA4"
QUERY = (
    "type=tcp&encryption=none&flow=xtls-rprx-vision&security=reality"
    f"&pbk={PBK}&fp=chrome&sni=www.site.test&sid=0123456789abcdef&spx=%2F"
)
LINK = f"vless://{UUID}@203.0.113.7:443?{QUERY}#Amsterdam%20%F0%9F%9A%A2"
FOUND = ShareLink(
    user_id=USER_ID,
    address=Address("203.0.113.7", 443),
    public_key=base64.urlsafe_b64decode(PBK + "="),
    server_name="www.site.test",
    short_id="0123456789abcdef",
    name="Amsterdam 🚢",
)

names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=20)
others = st.dictionaries(labels.map("x-".__add__), st.text(st.characters(codec="utf-8"), max_size=20), max_size=4)
links = st.builds(
    ShareLink,
    user_id=st.binary(min_size=16, max_size=16),
    address=st.builds(
        Address,
        st.ip_addresses().map(str).filter(lambda text: "%" not in text) | labels.map("a.{}".format),
        st.integers(1, 65535),
    ),
    public_key=keys,
    server_name=labels.map("{}.test".format),
    short_id=st.binary(max_size=8).map(bytes.hex),
    flow=st.sampled_from(["", Flow.VISION.value, UDP443_FLOW]),
    fingerprint=st.sampled_from(sorted(FINGERPRINTS)),
    spider_path=names.map("/{}".format),
    verify_key=st.just(b"") | st.just(b"v" * 1952),
    name=names,
    others=others.map(lambda found: tuple(found.items())),
)


def changed(old: str, new: str) -> str:
    assert old in LINK
    return LINK.replace(old, new)


def test_a_link_is_read_and_written_as_other_programs_do():
    assert ShareLink.parse(LINK) == FOUND
    assert FOUND.render() == LINK
    assert FOUND.vless_flow is Flow.VISION
    assert "user_id" not in repr(FOUND)


@quick
@given(links)
def test_a_link_survives_its_way(link):
    text = link.render()
    assert ShareLink.parse(text) == link
    assert text.isascii()
    assert text.isprintable()


@quick
@given(st.text(max_size=200), st.integers(0, len(LINK)))
def test_any_text_is_a_link_or_refused(text, at):
    for candidate in (text, "vless://" + text, LINK[:at] + text, LINK[:at] + text + LINK[at:]):
        said = ""
        try:
            link = ShareLink.parse(candidate)
        except LinkFormatError as error:
            said = str(error)
        else:
            assert ShareLink.parse(link.render()) == link
        assert UUID[:13] not in said
        assert len(said) < 250


def test_what_most_programs_leave_out_has_the_usual_meaning():
    short = ShareLink.parse(f"vless://{UUID}@[2001:db8::7]:443?security=reality&pbk={PBK}&sni=www.site.test")
    assert short == ShareLink(
        user_id=USER_ID,
        address=Address("2001:db8::7", 443),
        public_key=FOUND.public_key,
        server_name="www.site.test",
        flow="",
    )
    assert short.render().startswith(f"vless://{UUID}@[2001:db8::7]:443?type=tcp&encryption=none&security=reality&")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (UUID, UUID.upper()),
        ("type=tcp", "type=raw"),
        ("sni=www.site.test", "sni=WWW.Site.Test"),
        ("0123456789abcdef", "0123456789ABCDEF"),
        ("spx=%2F", "spx=/"),
        (":443?", ":443/?"),
        ("%20%F0%9F%9A%A2", "%20%f0%9f%9a%a2"),
        ("fp=chrome", "fp="),
    ],
)
def test_other_spellings_of_the_same_are_taken(old, new):
    assert ShareLink.parse(changed(old, new)) == FOUND


def test_parameters_we_do_not_know_are_kept_in_their_order_and_given_back():
    link = ShareLink.parse(changed("&spx", "&headerType=none&zz=a%26b%0A&alpn=h2%2Chttp%2F1.1&empty=&spx"))
    assert link.others == (("headerType", "none"), ("zz", "a&b\n"), ("alpn", "h2,http/1.1"), ("empty", ""))
    assert "&headerType=none&zz=a%26b%0A&alpn=h2%2Chttp%2F1.1&empty=#" in link.render()


def test_a_flow_that_lets_quic_pass_is_vision_to_a_server_and_stays_in_the_link():
    link = ShareLink.parse(changed("flow=xtls-rprx-vision", f"flow={UDP443_FLOW}"))
    assert link.vless_flow is Flow.VISION
    assert f"flow={UDP443_FLOW}&" in link.render()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("vless://", "vmess://", "the link: must begin with vless://"),
        ("vless://", " vless://", "the link: must begin"),
        (f"{UUID}@", "", "uuid: must stand before an @"),
        (UUID, UUID[:-1], "uuid: a user id is a UUID"),
        (UUID, "%zz", "uuid: has a % without"),
        ("203.0.113.7", "2001:db8::7", "host: must be"),
        ("203.0.113.7", "[203.0.113.7]", "host: must be"),
        ("203.0.113.7", "", "host: must be"),
        ("203.0.113.7", "a b", "host: must be"),
        (":443", "", "port: must be 1 to 65535"),
        (":443", ":0", "port: must be 1 to 65535"),
        (":443", ":65536", "port: must be 1 to 65535"),
        ("type=tcp", "type=ws", "type: 'ws' is not spoken here"),
        ("type=tcp", "type", "'type': must be name=value"),
        ("type=tcp&", "type=tcp&&", "'': must be name=value"),
        ("type=tcp", "type=tcp&type=tcp", "'type': must not be there twice"),
        ("type=tcp", "x=1&x=2", "'x': must not be there twice"),
        ("security=reality", "security=tls", "security: 'tls' is not spoken here"),
        ("security=reality", "x=1", "security: '' is not spoken here"),
        ("encryption=none", "encryption=mlkem768x25519plus.native.0rtt", "encryption: must be none"),
        ("fp=chrome", "fp=hellogolang", "fp: must be one of 360, android, chrome"),
        ("xtls-rprx-vision", "xtls-rprx-direct", "flow: must be empty or xtls-rprx-vision"),
        (PBK, PBK + "%3D", "pbk: must be base64url without padding"),
        (PBK, PBK[:-1] + "5", "pbk: must be base64url without padding"),
        (PBK, PBK[:-3], "pbk: must be 32 octets"),
        (PBK, "", "pbk: must be 32 octets"),
        ("www.site.test", "*.site.test", "sni: must be a lower-case DNS name"),
        ("www.site.test", "203.0.113.7", "sni: must be a lower-case DNS name"),
        ("0123456789abcdef", "0123456789abcde", "sid: must be 0 to 16"),
        ("0123456789abcdef", "0123456789abcdef00", "sid: must be 0 to 16"),
        ("spx=%2F", "spx=path", "spx: must begin with /"),
        ("&spx", "&pqv=AAAA&spx", "pqv: must be 1952 octets"),
        ("&spx", "&headerType=http&spx", "headerType: must be none"),
        ("Amsterdam", "Amster%0Adam", "the name behind #: must be printable"),
        ("%F0%9F%9A%A2", "%F0%9F", "the name behind #: must be UTF-8"),
        ("Amsterdam", "Amstérdam", "the name behind #: must be percent-encoded"),
        ("Amsterdam", "a" * MAX_LINK, "the link: must be at most 4096"),
        ("&spx", "".join(f"&x{number}=" for number in range(33)) + "&spx", "the parameters: must be at most 32"),
    ],
)
def test_a_refusal_names_the_parameter_and_what_it_must_be(old, new, what):
    with pytest.raises(LinkFormatError) as caught:
        ShareLink.parse(changed(old, new))
    assert f"vless link: {what}" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"others": (("sni", "x"),)}, {"others": (("", "x"),)}, {"user_id": b"short"}])
def test_we_make_no_link_that_we_would_refuse(wrong):
    with pytest.raises(LinkFormatError):
        attrs.evolve(FOUND, **wrong)


def test_a_qr_code_holds_a_link_with_every_key_in_it_and_says_so_if_it_does_not():
    longest = attrs.evolve(FOUND, verify_key=b"v" * 1952, name="")
    assert len(longest.render()) < 2953
    for text in (LINK, longest.render()):
        assert qr_svg(text).startswith("<svg ")
        code = segno.make_qr(text, error="l")
        # Two rows of the code and its border make a line.
        assert len(qr_text(text).rstrip("\n").split("\n")) == -(-(code.symbol_size(border=4)[1]) // 2)
    with pytest.raises(LinkFormatError, match="too long for a QR code"):
        qr_svg("x" * 3000)
