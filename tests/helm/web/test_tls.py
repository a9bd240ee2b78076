"""The page over TLS: who gets in, what is shown to them, and what becomes of it when time goes by."""

from __future__ import annotations

import datetime
import hashlib
import ssl
from pathlib import Path

import attrs
import pytest
import trio
from quart import g
from quart_trio import QuartTrio

from pharos.helm.accounts import signin
from pharos.helm.accounts.admins import make_link
from pharos.helm.accounts.browsers import revoke_browser
from pharos.helm.accounts.signin import SignIn
from pharos.helm.ca.webkey import RENEWED_BEFORE, web_credentials
from pharos.helm.errors import NotAllowedError
from pharos.helm.store.database import CORE
from pharos.helm.store.times import microseconds
from pharos.helm.web import tls as module
from pharos.helm.web.tls import know_browsers
from pharos.wire.pki.keys import certificate_to_der, key_to_der
from pharos.wire.pki.roles import Authority
from tests.support.helm import now, open_helm, sample_act
from tests.support.http import LOOPBACK, asking
from tests.support.pki import home_fleet
from tests.support.webtls import (
    REFUSED,
    STATUS,
    ask,
    browser_context,
    connected,
    gets_in,
    new_admin,
    new_browser,
    serving_tls,
)


async def test_browser_with_a_certificate_gets_the_page_and_the_others_get_nothing(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        _, credentials = await new_browser(helm, await new_admin(helm))
        async with connected(edge.port, browser_context(edge.shows, credentials)) as stream:
            answer = await ask(stream)
            assert stream.version() == "TLSv1.3"
            # A certificate is no sign-in.
            assert answer.status == 401
            assert (await ask(stream)).status == 401, "the connection stays"
        assert not await gets_in(edge.port, browser_context(edge.shows, None))


async def test_session_is_bound_to_the_browsers_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        bob = await new_admin(helm, "bob")
        made, credentials = await new_browser(helm, bob)
        eves, others = await new_browser(helm, await new_admin(helm, "eve"))
        door = SignIn(helm.store, helm.vault)

        async def link_of_bob() -> str:
            return await helm.store.run(make_link, sample_act(), bob)

        # Whoever has bob's link still needs a browser of bob's.
        with pytest.raises(NotAllowedError, match="another admin's"):
            await door.by_link(await link_of_bob(), browser="a test", bound=eves.certificate.id)
        with monkeypatch.context() as weakened:
            weakened.setattr(signin, "browser_owner", lambda _db, _fingerprint: None)
            await door.by_link(await link_of_bob(), browser="a test", bound=eves.certificate.id)
        link = await link_of_bob()
        signed = await door.by_link(link, browser="a test", bound=made.certificate.id)
        for name in ("pharos_session", "__Host-pharos_session"):
            cookie = ("Cookie", f"{name}={signed.cookie}")
            async with connected(edge.port, browser_context(edge.shows, credentials)) as stream:
                answer = await ask(stream, STATUS, cookie)
            assert answer.status == (200 if name.startswith("__Host-") else 401), name
        async with connected(edge.port, browser_context(edge.shows, others)) as stream:
            assert (await ask(stream, STATUS, cookie)).status == 401


async def test_who_is_revoked_is_put_out_at_once(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        ada = await new_admin(helm)
        made, credentials = await new_browser(helm, ada)
        _, kept = await new_browser(helm, ada)
        async with (
            connected(edge.port, browser_context(edge.shows, credentials)) as stream,
            connected(edge.port, browser_context(edge.shows, kept)) as other,
        ):
            assert (await ask(stream)).status == 401
            assert (await ask(other)).status == 401
            await helm.store.run(lambda db: revoke_browser(db, sample_act(), ada, made.certificate.id))
            with trio.fail_after(2), pytest.raises(REFUSED):
                assert await stream.receive_some() == b""
                raise trio.BrokenResourceError
            assert (await ask(other)).status == 401, "the admin's other browser goes on"
        assert not await gets_in(edge.port, browser_context(edge.shows, credentials))
        assert await gets_in(edge.port, browser_context(edge.shows, kept))


async def test_browsers_of_an_authority_that_is_not_believed_any_more_are_put_out(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        _, credentials = await new_browser(helm, await new_admin(helm))
        context = browser_context(edge.shows, credentials)
        authorities, trust = helm.context.authorities, helm.authority.trust
        successor = home_fleet().rotated(Authority.DEVICE).trust.device_ca
        async with connected(edge.port, context) as stream:
            assert (await ask(stream)).status == 401
            # In the middle of a rotation both are believed; at its end, the new one.
            authorities.replace(attrs.evolve(helm.authority, trust=attrs.evolve(trust, next_device_ca=successor)))
            assert (await ask(stream)).status == 401
            assert await gets_in(edge.port, context)
            authorities.replace(attrs.evolve(helm.authority, trust=attrs.evolve(trust, device_ca=successor)))
            with trio.fail_after(2), pytest.raises(REFUSED):
                assert await stream.receive_some() == b""
                raise trio.BrokenResourceError
        assert not await gets_in(edge.port, context)


async def test_browser_whose_certificate_ends_is_put_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        _, credentials = await new_browser(helm, await new_admin(helm))
        async with connected(edge.port, browser_context(edge.shows, credentials)) as stream:
            assert (await ask(stream)).status == 401
            edge.gate.look_again()
            assert (await ask(stream)).status == 401
            late = microseconds(credentials.certificate.not_valid_after_utc.timestamp() + 1)
            monkeypatch.setattr(module, "now_us", lambda: late)
            edge.gate.look_again()
            with trio.fail_after(2), pytest.raises(REFUSED):
                assert await stream.receive_some() == b""
                raise trio.BrokenResourceError


async def test_list_that_is_there_when_helm_starts_is_heeded(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        ada = await new_admin(helm)
        made, credentials = await new_browser(helm, ada)
        await helm.store.run(lambda db: revoke_browser(db, sample_act(), ada, made.certificate.id))
        async with serving_tls(helm) as edge:
            assert not await gets_in(edge.port, browser_context(edge.shows, credentials))


@pytest.mark.parametrize("alpn", [[], ["h2"], ["h2c"], ["imap"]])
@pytest.mark.row(13)
async def test_other_protocols_than_http1_are_refused(tmp_path: Path, alpn: list[str]) -> None:
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        _, credentials = await new_browser(helm, await new_admin(helm))
        assert await gets_in(edge.port, browser_context(edge.shows, credentials))
        assert not await gets_in(edge.port, browser_context(edge.shows, credentials, alpn=alpn))


@pytest.mark.row(13)
async def test_old_tls_and_plain_text_are_refused(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        _, credentials = await new_browser(helm, await new_admin(helm))
        context = browser_context(edge.shows, credentials)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        assert not await gets_in(edge.port, context)
        async with await trio.open_tcp_stream(LOOPBACK, edge.port) as plain:
            await plain.send_all(b"GET / HTTP/1.1\r\nHost: localhost:8440\r\n\r\n")
            with trio.fail_after(10):
                answer = bytes(await plain.receive_some())
            # A TLS alert (RFC 8446 §6), or nothing.
            assert not answer or answer[0] == 21


async def test_connection_ends_as_tls_wants_it(tmp_path: Path) -> None:
    """With an alert before the FIN, so that nobody on the way can cut an answer short unseen (RFC 8446 §6.1)."""
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        _, credentials = await new_browser(helm, await new_admin(helm))
        tcp = await trio.open_tcp_stream(LOOPBACK, edge.port)
        async with trio.SSLStream(
            tcp, browser_context(edge.shows, credentials), server_hostname="localhost", https_compatible=False
        ) as strict:
            assert (await ask(strict, STATUS, ("Connection", "close"))).status == 401
            with trio.fail_after(5):
                assert await strict.receive_some() == b""


async def test_page_shows_the_certificate_that_was_exported_also_after_a_restart(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        exported = await helm.store.run(web_credentials, helm.vault, now=now())
        _, credentials = await new_browser(helm, await new_admin(helm))
        for _ in range(2):
            async with serving_tls(helm) as edge:
                assert edge.shows == exported.certificate
                assert await gets_in(edge.port, browser_context(exported.certificate, credentials))
        assert key_to_der(exported.key)[-32:] not in (tmp_path / CORE).read_bytes(), "its key is wrapped"


async def test_certificate_is_replaced_a_month_before_it_ends(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        first = await helm.store.run(web_credentials, helm.vault, now=now())
        ends = first.certificate.not_valid_after_utc
        day = datetime.timedelta(days=1)
        before = await helm.store.run(web_credentials, helm.vault, now=ends - RENEWED_BEFORE - day)
        assert before.certificate == first.certificate
        after = await helm.store.run(web_credentials, helm.vault, now=ends - RENEWED_BEFORE + day)
        assert after.certificate != first.certificate
        assert after.key.public_key() == after.certificate.public_key()


async def test_running_helm_replaces_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_helm(tmp_path) as helm:
        monkeypatch.setattr(module, "LOOK", 0.01)
        async with serving_tls(helm) as edge:
            late = microseconds((edge.shows.not_valid_after_utc - RENEWED_BEFORE).timestamp()) + 1
            seen = helm.store.commits
            monkeypatch.setattr(module, "now_us", lambda: late)
            with trio.fail_after(5):
                await helm.store.wait_commit(seen)
        after = await helm.store.run(web_credentials, helm.vault, now=now())
        assert after.certificate.not_valid_after_utc > edge.shows.not_valid_after_utc
        assert "new certificate" in caplog.text


async def test_app_refuses_what_comes_without_a_certificate_by_whatever_way() -> None:
    app = QuartTrio(__name__)
    know_browsers(app, required=True)

    @app.get("/")
    async def who() -> str:
        return str(g.browser_certificate)

    async with asking(app) as client:
        answer = await client.get("/")
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    plain = QuartTrio(__name__)
    know_browsers(plain, required=False)
    plain.add_url_rule("/", "who", who)
    async with asking(plain) as client:
        assert (await client.get("/")).text == "None"


async def test_fingerprint_is_that_of_the_certificate(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm:
        made, credentials = await new_browser(helm, await new_admin(helm))
        assert made.certificate.id == hashlib.sha256(certificate_to_der(credentials.certificate)).hexdigest()
