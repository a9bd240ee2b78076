"""Sources: what it is shows its content; a preview changes nothing; whatever is wrong is told in a sentence."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pharos.caravel.errors import CaravelError, LinkNameTakenError, SourceError
from pharos.caravel.profiles.confs import ConfStore, KeptConf
from pharos.caravel.profiles.links import MAX_NAME, KeptLink, LinkStore, check_name
from pharos.caravel.sources.base import Choices, SourceKind
from pharos.caravel.sources.conf import ConfSource, read_conf
from pharos.caravel.sources.pharosfile import CollectionSource, SealedSource, content_of_kept
from pharos.caravel.sources.read import MAX_SOURCE, MAX_TEXT, read_source
from pharos.caravel.sources.vless import LinksSource
from pharos.wire.awg.confread import parse
from pharos.wire.errors import BundleError, LinkFormatError, ParameterError
from pharos.wire.reality.options import DialOptions
from pharos.wire.seal.filecontent import Collection, FileConf, FileLink, encode_content
from pharos.wire.seal.pharosfile import MAGIC, seal_file
from pharos.wire.seal.words import fleet_words
from tests.fuzz.sources import source
from tests.support.sources import CONF, OTHER_LINK, PRIVATE_KEY, SUBSCRIPTION, qr_png
from tests.support.strategies import quick
from tests.wire.reality.test_sharelink import FOUND, LINK, UUID
from tests.wire.seal.test_ticket import FLEET_TEXT, TEXT, TICKET

SECRETS = (UUID, "hunter2", PRIVATE_KEY, TEXT[-22:])


def kept_file(**closed: str) -> bytes:
    content = content_of_kept(
        (KeptLink(name="cafe", link=FOUND, options=DialOptions(post_quantum=False, version=(1, 8, 0))),),
        (KeptConf(name="office", conf=parse(CONF)),),
    )
    return seal_file(encode_content(content), made=1, **closed)  # type: ignore[arg-type]


KINDS = {
    SourceKind.TICKET: TEXT.encode(),
    SourceKind.LOGIN: FLEET_TEXT.encode(),
    SourceKind.LINKS: LINK.encode(),
    SourceKind.CONF: CONF.encode(),
    SourceKind.COLLECTION: kept_file(),
}


class TestSniffing:
    @pytest.mark.parametrize("kind", KINDS)
    def test_what_it_is_shows_its_content_and_not_its_name(self, kind: SourceKind, tmp_path: Path) -> None:
        file = tmp_path / "photo.jpg"
        file.write_bytes(KINDS[kind])
        assert read_source(KINDS[kind]).kind is kind
        assert read_source(file).kind is kind

    @pytest.mark.parametrize("kind", [SourceKind.TICKET, SourceKind.LOGIN, SourceKind.LINKS, SourceKind.CONF])
    def test_texts_come_with_windows_ends_of_lines_and_blanks_around_them(self, kind: SourceKind) -> None:
        text = KINDS[kind].decode()
        assert read_source("\ufeff  " + text.replace("\n", "\r\n") + "\r\n\r\n").kind is kind

    @pytest.mark.parametrize("kind", [SourceKind.TICKET, SourceKind.LOGIN, SourceKind.LINKS, SourceKind.CONF])
    def test_a_qr_code_says_the_same_as_its_text(self, kind: SourceKind) -> None:
        assert read_source(qr_png(KINDS[kind].decode().strip())) == read_source(KINDS[kind])

    def test_a_subscription_is_a_list_in_base64(self) -> None:
        for text in (SUBSCRIPTION, base64.urlsafe_b64encode(base64.b64decode(SUBSCRIPTION)).rstrip(b"=")):
            found = read_source(text)
            assert isinstance(found, LinksSource)
            assert [link.address.host for link in found.links] == ["203.0.113.7", "203.0.113.8", "203.0.113.8"]
        wrapped = b"\n".join(SUBSCRIPTION[at : at + 76] for at in range(0, len(SUBSCRIPTION), 76))
        assert read_source(wrapped) == found

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "nothing in it"),
            (b" \n ", "nothing in it"),
            (b"hello", "nothing that caravel reads"),
            (b"PK\x03\x04rest", "ZIP"),
            (b"%PDF-1.7", "screenshot"),
            (b"GIF89a", "PNG"),
            (b"<?xml version='1.0'?><svg/>", "screenshot"),
            (b"<!doctype html>", "web page"),
            (b"\0\0\0 ftypheic", "HEIC"),
            (b"vpn://AAAA", "Amnezia"),
            (b'{"inbounds": []}', "vless://"),
            (b"\xff\xfe\0", "no text"),
            (b"a\0b", "no text"),
            (b"\x1f\x8b\x08", "gzip"),
        ],
    )
    def test_what_people_try_as_well_is_told_apart(self, data: bytes, why: str) -> None:
        with pytest.raises(SourceError, match=why):
            read_source(data)

    def test_a_link_of_a_later_version_says_to_upgrade(self) -> None:
        with pytest.raises(LinkFormatError, match="upgrade"):
            read_source("pharosvpn://dance?v=1")

    def test_sizes_have_an_end(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="MiB"):
            read_source(bytes(MAX_SOURCE + 1))
        with pytest.raises(SourceError, match="KiB"):
            read_source(b"a" * (MAX_TEXT + 1))
        file = tmp_path / "sparse"
        with file.open("wb") as out:
            out.truncate(1 << 40)
        with pytest.raises(SourceError, match="MiB"):
            read_source(file)


class TestPreview:
    def test_a_ticket_shows_the_fleet_and_its_words_and_no_secret(self) -> None:
        preview = read_source(TEXT).preview()
        assert (preview.fleet, preview.words) == (TICKET.fleet, fleet_words(TICKET.root_hash))
        assert preview.secret
        assert not read_source(FLEET_TEXT).preview().secret

    @pytest.mark.parametrize("data", [*KINDS.values(), SUBSCRIPTION, kept_file(passphrase="x" * 12)])
    def test_nothing_secret_is_shown(self, data: bytes) -> None:
        shown = repr(read_source(data).preview())
        assert not [secret for secret in SECRETS if secret in shown]

    def test_a_configuration_shows_where_it_leads_and_what_is_unwise(self) -> None:
        preview = read_source(CONF).preview()
        assert preview.items == ("node.example  node.example:51820, for 0.0.0.0/0, ::/0",)
        assert preview.warnings == ()
        plain = CONF.replace("Jc = 4\nJmin = 8\nJmax = 80\nS1 = 15\nS2 = 20\nH1 = 5\nH2 = 6\nH3 = 7\nH4 = 8\n", "")
        warned = read_source(plain.replace("DNS", "FwMark = 7\nTable = off\nDNS")).preview()
        assert "WireGuard" in warned.title
        assert "blocked" in warned.warnings[0]
        assert "FwMark, Table" in warned.warnings[1]

    def test_lines_that_were_passed_over_are_told_without_their_content(self) -> None:
        preview = read_source(f"# mine\n{LINK}\nss://hunter2@x\nvless://hunter2\n").preview()
        assert len(preview.warnings) == 2
        assert "line 3" in preview.warnings[0]
        assert "ss://" in preview.warnings[0]
        assert "hunter2" not in repr(preview)

    def test_what_stands_open_in_a_file_is_said_so(self) -> None:
        assert "closed to nobody" in read_source(kept_file()).preview().warnings[-1]


class TestTaking:
    async def test_links_are_kept_under_their_names(self, tmp_path: Path) -> None:
        taken = await read_source(f"{LINK}\n{OTHER_LINK}").take(tmp_path / "s", Choices())
        assert LinkStore(tmp_path / "s").all() == taken.links
        assert [one.name for one in taken.links] == ["Amsterdam 🚢", "Berlin 🚢"]

    async def test_a_subscription_numbers_names_that_it_has_twice(self, tmp_path: Path) -> None:
        text = f"{LINK}\n{OTHER_LINK.replace('Berlin', 'Amsterdam')}\n{LINK}-\n"
        taken = await read_source(base64.b64encode(text.encode())).take(tmp_path / "s", Choices())
        assert [one.name for one in taken.links] == ["Amsterdam 🚢", "Amsterdam 🚢 (2)", "Amsterdam 🚢-"]

    async def test_a_list_with_a_name_twice_keeps_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(LinkNameTakenError):
            await read_source(f"{LINK}\n{LINK}x\n{LINK}").take(tmp_path / "s", Choices())
        assert LinkStore(tmp_path / "s").all() == ()

    async def test_a_configuration_is_kept_whole(self, tmp_path: Path) -> None:
        await read_source(CONF).take(tmp_path / "s", Choices(name="office"))
        assert ConfStore(tmp_path / "s").find("office") == KeptConf(name="office", conf=parse(CONF))
        assert PRIVATE_KEY not in (tmp_path / "s" / "confs.json").read_text()

    async def test_a_name_means_a_link_or_a_configuration_and_never_both(self, tmp_path: Path) -> None:
        state = tmp_path / "s"
        await read_source(LINK).take(state, Choices(name="x"))
        with pytest.raises(LinkNameTakenError, match="a link is called"):
            await read_source(CONF).take(state, Choices(name="x", replace=True))
        await read_source(CONF).take(state, Choices(name="y"))
        with pytest.raises(LinkNameTakenError, match="a configuration is called"):
            await read_source(LINK).take(state, Choices(name="y", replace=True))

    async def test_a_file_is_taken_whole_or_not_at_all(self, tmp_path: Path) -> None:
        state = tmp_path / "s"
        await read_source(CONF.replace("51820", "1")).take(state, Choices(name="office"))
        with pytest.raises(LinkNameTakenError):
            await read_source(kept_file()).take(state, Choices())
        assert LinkStore(state).all() == ()
        taken = await read_source(kept_file()).take(state, Choices(replace=True))
        assert LinkStore(state).find("cafe").options == DialOptions(post_quantum=False, version=(1, 8, 0))
        assert ConfStore(state).all() == taken.confs

    async def test_a_closed_file_is_opened_first(self, tmp_path: Path) -> None:
        closed = read_source(kept_file(passphrase="correct horse"))
        assert isinstance(closed, SealedSource)
        with pytest.raises(SourceError, match="open it first"):
            await closed.take(tmp_path / "s", Choices())
        assert not (tmp_path / "s").exists()
        assert isinstance(await closed.open_in_thread(passphrase="correct horse"), CollectionSource)

    def test_reading_and_looking_leave_no_trace(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        for data in KINDS.values():
            read_source(data).preview()
        assert list(tmp_path.iterdir()) == []


class TestConfigurations:
    @pytest.mark.parametrize(
        ("old", "new", "why"),
        [
            ("DNS", "PostUp = rm -rf /\nDNS", "runs no commands"),
            ("DNS", "PreDown = x\nDNS", "runs no commands"),
            (f"PrivateKey = {PRIVATE_KEY}\n", "", "PrivateKey"),
            ("Address = 10.7.0.2/32, fd00::2/128\n", "", "Address"),
            ("Endpoint = node.example:51820\n", "", "Endpoint"),
            ("Endpoint", "Endponit", "line 18"),
            ("\n[Peer]", "\n[Peer]\nPublicKey = AAAAA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\n[Peer]", "2 times"),
            ("H1 = 5", "H1 = 6", "H"),
        ],
    )
    def test_what_nobody_could_connect_by_is_refused_with_its_key(self, old: str, new: str, why: str) -> None:
        assert old in CONF
        with pytest.raises(ParameterError, match=why) as caught:
            read_conf(CONF.replace(old, new))
        assert PRIVATE_KEY not in str(caught.value)

    def test_a_file_gives_its_name_unless_that_could_not_be_shown(self, tmp_path: Path) -> None:
        for file, name in (("office.conf", "office"), ("-x.conf", "node.example"), ("\u202ea.conf", "node.example")):
            (tmp_path / file).write_text(CONF)
            found = read_source(tmp_path / file)
            assert isinstance(found, ConfSource)
            assert found.name == name

    def test_there_is_a_most_of_them(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pharos.caravel.profiles.confs.MAX_CONFS", 1)
        store = ConfStore(tmp_path / "s")
        store.add(KeptConf(name="a", conf=parse(CONF)))
        with pytest.raises(ParameterError, match="at most"):
            store.add(KeptConf(name="b", conf=parse(CONF)))
        store.remove("a")
        with pytest.raises(CaravelError, match="there are: none"):
            store.remove("a")


class TestFiles:
    def test_a_name_with_a_zero_octet_is_none(self) -> None:
        with pytest.raises(SourceError):
            read_source(Path("a\0b"))

    def test_a_pipe_that_nobody_writes_to_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(SourceError, match="no file"):
            read_source(tmp_path / "pipe")

    @pytest.mark.parametrize(
        "bad",
        [
            Collection(links=(FileLink(name="-a", link=LINK, post_quantum=True, version="1.2.3"),)),
            Collection(links=(FileLink(name="a", link="vless://x", post_quantum=True, version="1.2.3"),)),
            Collection(links=(FileLink(name="a", link=LINK, post_quantum=True, version="x"),)),
            Collection(confs=(FileConf(name="a", conf="[Interface]\nPostUp = x\n"),)),
        ],
    )
    def test_what_is_bad_in_a_file_is_bad_of_the_file(self, bad: Collection) -> None:
        with pytest.raises(BundleError) as caught:
            read_source(seal_file(encode_content(bad), made=1))
        assert UUID not in str(caught.value)


texts = st.text(max_size=80) | st.sampled_from([LINK, TEXT, FLEET_TEXT, CONF]).flatmap(
    lambda text: st.tuples(st.integers(0, len(text)), st.text(max_size=3)).map(
        lambda c: text[: c[0]] + c[1] + text[c[0] :]
    )
)


@quick
@given(
    st.binary(max_size=200)
    | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.binary().map(MAGIC.__add__)
)
@example(b"[Interface]")
@example(b"BM")
@example(SUBSCRIPTION[:-7])
def test_whatever_comes_is_a_source_or_one_sentence_without_a_secret(data: bytes) -> None:
    source(data)


@quick
@given(st.text(max_size=MAX_NAME + 2))
def test_a_name_is_printable_or_none(name: str) -> None:
    try:
        assert check_name(name) == name
    except LinkFormatError:
        return
    assert name.isprintable()
    assert name.strip() == name != ""
