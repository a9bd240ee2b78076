"""Admins come in by the OpenID provider, with the role of their groups; a provider that lies lets nobody in."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import httpx
import pytest
import trio
from quart_trio import QuartTrio

from pharos.helm.accounts import signin
from pharos.helm.accounts.admins import add_admin, change_admin, remove_admin
from pharos.helm.accounts.oidc import provider as module
from pharos.helm.accounts.signin import SignedIn, begin_session
from pharos.helm.context import HelmContext
from pharos.helm.live.board import now_us
from pharos.helm.model.admins import Admin, AdminState, Role
from pharos.helm.model.oidc import Claims
from pharos.helm.store.admins import ADMINS
from pharos.helm.store.database import Database
from pharos.helm.store.settings import put_setting
from pharos.helm.web.app import make_loopback_app
from pharos.helm.web.guard import CALLBACK, guard_loopback
from pharos.helm.web.oidc import FLOW_COOKIE, REFUSED, make_oidc_blueprint, make_oidc_signin_blueprint
from pharos.helm.web.permissions import OTHERS, check_permissions
from pharos.helm.web.problems import handle_errors
from pharos.helm.web.session import COOKIE, CSRF_HEADER, csrf_text, make_session_blueprint, recognise_callers
from pharos.helm.web.settings import make_settings_blueprint
from tests.support.helm import SampleHelm, open_helm, sample_act
from tests.support.http import asking
from tests.support.oidcprovider import CLIENT, SLOW, OidcProvider, answer, rsa_key, running_provider, visit
from tests.support.signin import Headers

BEGIN = "/api/v1/session/oidc"
SESSION = "/api/v1/session"
OIDC = "/api/v1/oidc"
HOSTS = {"localhost:8440", "127.0.0.1:8440"}
HOUR = 3600
MAPPING = ["vpn=operator", "staff=viewer", "boss=owner"]
# As Chromium sends them when the provider's page sends the window back.
BACK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
WINDOW = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
"""What a browser takes where it shows a page."""


@attrs.frozen
class Desk:
    """A helm with a provider, and a browser before it."""

    helm: SampleHelm
    app: QuartTrio
    provider: OidcProvider
    browser: httpx.AsyncClient

    async def begin(self) -> str:
        begun = await self.browser.get(BEGIN)
        assert begun.status_code == 302, begun.text
        return begun.headers["Location"]

    async def come_back(self, target: str) -> httpx.Response:
        parts = urlsplit(target)
        return await self.browser.get(f"{parts.path}?{parts.query}", headers=BACK)

    async def sign_in(self) -> httpx.Response:
        return await self.come_back(await visit(await self.begin()))

    async def me(self) -> Any:
        return (await self.browser.get(SESSION)).json()

    async def set(self, **settings: Any) -> None:
        await self.helm.store.run(put_all, {f"oidc.{name}": value for name, value in settings.items()})

    async def admins(self) -> dict[str, Admin]:
        def read(db: Database) -> dict[str, Admin]:
            rows = db.execute(f"SELECT {ADMINS.all_columns} FROM admins").fetchall()
            return {row["name"]: ADMINS.load(row) for row in rows}

        return await self.helm.store.read(read)

    async def refusals(self) -> list[str]:
        def read(db: Database) -> list[str]:
            rows = db.execute("SELECT detail FROM audit WHERE verb = ? ORDER BY sequence", ("oidc_refused",))
            return [row["detail"] for row in rows.fetchall()]

        return await self.helm.store.read(read)


def put_all(db: Database, values: dict[str, Any]) -> None:
    for name, value in values.items():
        row = db.execute("SELECT version FROM settings WHERE id = ?", (name,)).fetchone()
        put_setting(db, sample_act(), name, 0 if row is None else row["version"], value)


def all_octets(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def make_app(helm: SampleHelm) -> QuartTrio:
    """Of helm's application, what these tests look at: the whole takes a third of a second to make."""
    app = QuartTrio(__name__, static_folder=None)
    handle_errors(app)
    guard_loopback(app, HOSTS)
    recognise_callers(app, helm.context)
    for make in (make_session_blueprint, make_oidc_signin_blueprint, make_oidc_blueprint, make_settings_blueprint):
        app.register_blueprint(make(helm.context))
    check_permissions(app, OTHERS)
    return app


async def sign_in(context: HelmContext, *, name: str = "grace", role: Role = Role.OWNER) -> Headers:
    """Return what the browser of a new admin sends who came in another way."""

    def write(db: Database) -> SignedIn:
        admin = add_admin(db, sample_act(), name, role)
        admin = change_admin(db, sample_act(), admin.id, 1, {"state": AdminState.ACTIVE})
        return begin_session(db, admin, at=now_us(), browser="a test", how="link")

    signed = await context.store.run(write)
    return [("Cookie", f"{COOKIE}={signed.cookie}"), (CSRF_HEADER, csrf_text(signed.session))]


@asynccontextmanager
async def desk(tmp_path: Path, **changes: Any) -> AsyncIterator[Desk]:
    async with running_provider(**changes) as provider, open_helm(tmp_path) as helm:
        app = make_app(helm)
        async with asking(app) as browser:
            found = Desk(helm, app, provider, browser)
            await found.set(issuer=provider.issuer, client_id=CLIENT, roles=MAPPING)
            yield found


async def test_group_gives_the_role_and_the_session_is_fresh(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        done = await at.sign_in()
        assert (done.status_code, done.headers["Location"]) == (303, "/")
        assert at.browser.cookies.get(FLOW_COOKIE) is None
        me = await at.me()
        assert (me["name"], me["role"], me["how"]) == ("ada@example.org", "operator", "oidc")
        assert not me["password_set"]
        admin = (await at.admins())["ada@example.org"]
        assert admin.state is AdminState.ACTIVE


async def test_browser_is_sent_with_all_that_protects_its_way_back(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        response = await at.browser.get(BEGIN)
        query = parse_qs(urlsplit(response.headers["Location"]).query)
        assert query["redirect_uri"] == [f"http://localhost:8440{CALLBACK}"]
        assert query["code_challenge_method"] == ["S256"]
        assert query["max_age"] == ["300"]
        assert all(len(query[name][0]) >= 43 for name in ("state", "nonce", "code_challenge"))
        cookie = response.headers["Set-Cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=Lax", f"Path={BEGIN}", "Max-Age=600"))
        assert query["state"][0] not in cookie
        session = (await at.come_back(await visit(response.headers["Location"]))).headers.get_list("Set-Cookie")
        assert any(text.startswith(COOKIE) and "SameSite=Strict" in text and "HttpOnly" in text for text in session)


async def test_second_sign_in_finds_the_same_admin_and_follows_the_groups(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await sign_in(at.helm.context, name="owner")
        await at.sign_in()
        for groups, role in ((["staff"], "viewer"), (["boss", "staff"], "owner"), (["vpn"], "operator")):
            # Neither name nor mail address is who somebody is.
            at.provider.claims = {"groups": groups, "name": "Other", "email": "other@example.org"}
            assert (await at.sign_in()).status_code == 303
            me = await at.me()
            assert (me["name"], me["role"]) == ("ada@example.org", role)
        assert len(await at.admins()) == 2


async def test_lower_role_ends_the_sessions_that_had_the_higher(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await sign_in(at.helm.context, name="owner")
        await at.sign_in()
        old = at.browser.cookies[COOKIE]
        at.provider.claims = {"groups": ["staff"]}
        await at.sign_in()
        at.browser.cookies.clear()
        assert (await at.browser.get(SESSION, headers={"Cookie": f"{COOKIE}={old}"})).status_code == 401


async def test_who_has_no_mapped_group_is_refused_and_the_audit_says_so(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for groups in ([], ["VPN"], ["vpn "], ["vpn=operator"], None):
            at.provider.claims = {"groups": groups}
            refused = await at.sign_in()
            assert refused.status_code == 403
            assert "oidc.roles" in refused.json()["detail"]
        assert await at.admins() == {}
        # One row tells of it, however often somebody tries.
        assert len(await at.refusals()) == 1
        at.provider.claims = {"groups": [], "sub": "another"}
        await at.sign_in()
        assert len(await at.refusals()) == 2
        assert COOKIE not in at.browser.cookies
        await at.set(roles=[])
        at.provider.claims = {}
        assert (await at.sign_in()).status_code == 403


async def test_disabled_admin_stays_out(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await sign_in(at.helm.context, name="owner")
        await at.sign_in()
        admin = (await at.admins())["ada@example.org"]
        await at.helm.store.run(change_admin, sample_act(), admin.id, admin.version, {"state": AdminState.DISABLED})
        refused = await at.sign_in()
        assert (refused.status_code, "disabled" in refused.json()["detail"]) == (403, True)
        assert (await at.browser.get(SESSION)).status_code == 401


async def test_last_owner_keeps_the_role_by_staying_out(tmp_path: Path) -> None:
    async with desk(tmp_path, claims={"groups": ["boss"]}) as at:
        assert (await at.sign_in()).status_code == 303
        at.provider.claims = {"groups": ["staff"]}
        refused = await at.sign_in()
        assert (refused.status_code, "owner" in refused.json()["detail"]) == (409, True)
        assert (await at.admins())["ada@example.org"].role is Role.OWNER
        assert len(await at.refusals()) == 1


async def test_removed_admin_is_a_new_one_next_time(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await sign_in(at.helm.context, name="owner")
        await at.sign_in()
        admin = (await at.admins())["ada@example.org"]
        await at.helm.store.run(remove_admin, sample_act(), admin.id, admin.version)
        assert (await at.sign_in()).status_code == 303
        assert (await at.admins())["ada@example.org"].id != admin.id


async def test_nobody_takes_over_an_admin_by_a_name(tmp_path: Path) -> None:
    """Whoever may call themselves what they like at the provider is not the admin of that name."""
    async with desk(tmp_path, claims={"groups": ["staff"]}) as at:
        await sign_in(at.helm.context, name="ada@example.org", role=Role.OWNER)
        await at.sign_in()
        me = await at.me()
        assert me["name"].startswith("ada@example.org-")
        assert me["role"] == "viewer"
        for number, name in enumerate(("operator", "Helm", "device", "", "a\tb")):
            at.provider.claims = {"sub": f"s{number}", "groups": ["staff"], "name": name, "email_verified": False}
            assert (await at.sign_in()).status_code == 303
            assert (await at.me())["name"] not in ("operator", "Helm", "device", "", "ada@example.org")


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("pharos.")]


async def test_window_that_is_not_let_in_is_sent_to_the_door_and_learns_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk(tmp_path) as at:

        async def refuse(target: str, comes: dict[str, str] = BACK) -> None:
            parts = urlsplit(target)
            shown = await at.browser.get(f"{parts.path}?{parts.query}", headers=comes | {"Accept": WINDOW})
            assert (shown.status_code, shown.headers["Location"], shown.content) == (303, REFUSED, b"")
            assert "Set-Cookie" not in shown.headers

        at.provider.claims = {"groups": []}
        unmapped = await visit(await at.begin())
        await refuse(unmapped)
        (told,) = await at.refusals()
        assert "oidc.roles" in told
        # It is used up; nobody began another one.
        await refuse(unmapped)
        await refuse(f"{CALLBACK}?state=x&code=y")
        assert logged(caplog) == []
        # A way that was begun is not ended by what another one comes to.
        at.provider.claims = {}
        back = await visit(await at.begin())
        await refuse(f"{CALLBACK}?state=x&code=y")
        assert (await at.come_back(back)).status_code == 303
        # What is wrong with the provider is for whoever looks after helm.
        back = await visit(await at.begin())
        at.provider.fault = lambda _path: answer({"error": "server_error"}, 503)
        await refuse(back)
        await at.set(issuer="http://localhost:9")
        await refuse(BEGIN, {"Sec-Fetch-Site": "same-origin"})
        fault, away = logged(caplog)
        assert "refused: server_error" in fault
        assert "cannot be asked" in away
        caplog.clear()


HOSTILE: dict[str, dict[str, Any]] = {
    "swapped audience": {"claims": {"aud": "another-client"}},
    "several audiences": {"claims": {"aud": [CLIENT, "another-client"], "azp": CLIENT}},
    "another issuer": {"claims": {"iss": "https://evil.example"}},
    "wrong nonce": {"claims": {"nonce": "another"}},
    "no nonce": {"claims": {"nonce": None}},
    "an hour behind": {"clock": -HOUR},
    "an hour ahead": {"clock": HOUR},
    "never ends": {"claims": {"iat": 1_700_000_000, "exp": 9_999_999_999}},
    "alg none": {"header": {"alg": "none"}},
    "symmetric": {"header": {"alg": "HS256"}},
    "another key": {"published": [rsa_key("other")]},
    "same name, another key": {"signer": rsa_key("one", 2056)},
}


def believe(token: str, *_args: Any, **_kwargs: Any) -> Claims:
    """Weakened: what the token says is taken as it is."""
    payload = token.split(".")[1]
    said = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return Claims(issuer=said["iss"], subject=said["sub"], name="Eve", groups=tuple(said["groups"]))


async def test_provider_that_lies_lets_nobody_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(tmp_path) as at:
        good = attrs.asdict(at.provider, recurse=False)
        for lie, changes in HOSTILE.items():
            for name in ("claims", "header", "clock", "signer", "published"):
                setattr(at.provider, name, (good | changes)[name])
            at.helm.context.oidc._provider = None
            refused = await at.sign_in()
            assert refused.status_code == 502, lie
            assert "not to be believed" in refused.json()["detail"] or "does not publish" in refused.json()["detail"]
            assert (COOKIE in at.browser.cookies, await at.admins()) == (False, {})
            with monkeypatch.context() as patch:
                patch.setattr(module, "verify_token", believe)
                assert (await at.sign_in()).status_code == 303, lie
            await at.helm.store.run(lambda db: db.execute("DELETE FROM admins"))
            at.browser.cookies.clear()


async def test_provider_that_is_down_is_said_to_be(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.set(issuer="http://localhost:9")
        away = await at.browser.get(BEGIN)
        assert (away.status_code, "cannot be asked" in away.json()["detail"]) == (502, True)


async def test_provider_that_goes_down_on_the_way_back_lets_nobody_in(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        back = await visit(await at.begin())
        at.provider.fault = lambda _path: answer({"error": "server_error"}, 503)
        assert (await at.come_back(back)).status_code == 502
        at.provider.fault = None
        # It was used up.
        assert (await at.come_back(back)).status_code == 401


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token"])
async def test_provider_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 1.0)
    async with desk(tmp_path) as at:
        at.provider.fault = lambda asked: answer({}, SLOW) if asked == path else None
        with trio.fail_after(10):
            found = await at.browser.get(BEGIN)
            if path == "/token":
                found = await at.come_back(await visit(found.headers["Location"]))
        assert (found.status_code, "has not answered" in found.json()["detail"]) == (502, True)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys", "/token"])
async def test_provider_that_says_too_much_is_not_heard_out(tmp_path: Path, path: str) -> None:
    async with desk(tmp_path) as at:
        huge = answer({"id_token": "x" * module.MAX_ANSWER})
        at.provider.fault = lambda asked: huge if asked == path else None
        found = await at.browser.get(BEGIN)
        if path == "/token":
            found = await at.come_back(await visit(found.headers["Location"]))
        assert (found.status_code, "more than 256 KiB" in found.json()["detail"]) == (502, True)


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"token_endpoint": "http://evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"token_endpoint": "https://user@evil.example/token"},
    ],
    ids=str,
)
async def test_discovery_document_that_leads_elsewhere_is_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    async with desk(tmp_path, document=document) as at:
        assert (await at.browser.get(BEGIN)).status_code == 502


async def test_redirects_of_a_provider_are_not_followed(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        moved = answer({}, 302)
        moved.headers["Location"] = f"{at.provider.issuer}/.well-known/openid-configuration?again"
        at.provider.fault = lambda asked: moved if asked.startswith("/.well-known") else None
        assert (await at.browser.get(BEGIN)).status_code == 502
        assert at.provider.asked == ["/.well-known/openid-configuration"]


async def test_new_key_is_looked_for_once_and_not_too_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(tmp_path) as at:
        await at.sign_in()
        assert at.provider.asked.count("/keys") == 1
        at.provider.signer = rsa_key("next")
        at.provider.published.append(at.provider.signer)
        # The keys were read a moment ago.
        assert (await at.sign_in()).status_code == 502
        assert at.provider.asked.count("/keys") == 1
        monkeypatch.setattr(module, "PAUSE", 0.0)
        assert (await at.sign_in()).status_code == 303
        assert (await at.sign_in()).status_code == 303
        assert at.provider.asked.count("/keys") == 2


@pytest.mark.parametrize("in_form", [False, True])
async def test_client_with_a_secret_shows_it(tmp_path: Path, in_form: bool) -> None:
    secret = "s3:cret +%"
    async with desk(tmp_path, secret=secret, in_form=in_form) as at:
        assert (await at.sign_in()).status_code == 502
        owner = await sign_in(at.helm.context)
        put = await at.browser.put(f"{OIDC}/secret", json={"secret": secret}, headers=owner)
        assert put.status_code == 204
        assert (await at.sign_in()).status_code == 303
        shown = (await at.browser.get(OIDC, headers=owner)).text
        assert '"secret_set":true' in shown
        raw = all_octets(tmp_path)
        assert secret not in shown
        assert secret.encode() not in raw
        assert (await at.browser.delete(f"{OIDC}/secret", headers=owner)).status_code == 204
        assert (await at.browser.delete(f"{OIDC}/secret", headers=owner)).status_code == 404


async def test_secret_takes_an_owner_and_a_fresh_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk(tmp_path) as at:
        owner = await sign_in(at.helm.context)
        admin = await sign_in(at.helm.context, name="bob", role=Role.ADMIN)
        body = {"secret": "x"}
        assert (await at.browser.put(f"{OIDC}/secret", json=body, headers=admin)).status_code == 403
        for bad in ("", "x" * 1001, "a\nb", "ä"):
            assert (await at.browser.put(f"{OIDC}/secret", json={"secret": bad}, headers=owner)).status_code == 400
        monkeypatch.setattr(signin, "now_us", lambda: now_us() + signin.FRESH + 1_000_000)
        assert (await at.browser.put(f"{OIDC}/secret", json=body, headers=owner)).status_code == 401


async def test_admin_makes_no_owner_by_another_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 55: whoever sets issuer or mapping says who is owner."""
    async with desk(tmp_path) as at:
        owner = await sign_in(at.helm.context)
        admin = await sign_in(at.helm.context, name="bob", role=Role.ADMIN)
        path, body = "/api/v1/settings/oidc.roles", {"value": ["staff=owner"]}
        seen = [("If-Match", '"1"')]
        assert (await at.browser.put(path, json=body, headers=admin + seen)).status_code == 403
        assert (await at.browser.delete(path, headers=admin + seen)).status_code == 403
        with monkeypatch.context() as patch:
            # Weakened: settings like all others.
            patch.setattr("pharos.helm.web.settings.SET_BY_OWNERS", frozenset())
            assert (await at.browser.put(path, json=body, headers=admin + seen)).status_code == 200
            assert (await at.sign_in()).status_code == 303
            assert (await at.me())["role"] == "owner"
        seen = [("If-Match", '"2"')]
        at.browser.cookies.clear()
        assert (await at.browser.put(path, json={"value": MAPPING}, headers=owner + seen)).status_code == 200
        monkeypatch.setattr(signin, "now_us", lambda: now_us() + signin.FRESH + 1_000_000)
        seen = [("If-Match", '"3"')]
        assert (await at.browser.put(path, json=body, headers=owner + seen)).status_code == 401


async def test_provider_says_no_and_so_does_helm(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        state = parse_qs(urlsplit(await at.begin()).query)["state"][0]
        refused = await at.come_back(f"{CALLBACK}?error=access_denied&state={state}")
        assert (refused.status_code, "access_denied" in refused.json()["detail"]) == (401, True)


async def test_answer_of_another_provider_is_refused(tmp_path: Path) -> None:
    """RFC 9207: mixing up providers."""
    named = {"authorization_response_iss_parameter_supported": True}
    async with desk(tmp_path, document=named) as at:
        back = await visit(await at.begin())
        assert "iss=" in back
        assert (await at.come_back(back)).status_code == 303
        for iss in ("", "&iss=https%3A%2F%2Fevil.example"):
            back = await visit(await at.begin())
            assert (await at.come_back(back.partition("&iss=")[0] + iss)).status_code == 401


async def test_another_issuer_set_meanwhile_ends_what_was_begun(tmp_path: Path) -> None:
    async with desk(tmp_path) as at, running_provider() as other:
        back = await visit(await at.begin())
        await at.set(issuer=other.issuer)
        assert (await at.come_back(back)).status_code == 401
        assert (await at.sign_in()).status_code == 303
        assert {str(row) for row in (await at.admins())} == {"ada@example.org"}


async def test_without_a_provider_there_is_no_way(tmp_path: Path) -> None:
    """By the whole application, as helm serves it."""
    async with open_helm(tmp_path) as helm, asking(make_loopback_app(helm.context, HOSTS)) as browser:
        assert (await browser.get(BEGIN)).status_code == 404
        assert (await browser.get(CALLBACK, headers=BACK)).status_code == 401
        owner = await sign_in(helm.context)
        assert (await browser.post(f"{OIDC}/test", headers=owner)).status_code == 404
        assert (await browser.get(OIDC, headers=owner)).json()["issuer"] == ""


async def test_provider_is_tested_afresh(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        owner = await sign_in(at.helm.context)
        found = (await at.browser.post(f"{OIDC}/test", headers=owner)).json()
        assert (found["issuer"], found["keys"], found["device_code"]) == (at.provider.issuer, 2, True)
        at.provider.published = at.provider.published[:1]
        assert (await at.browser.post(f"{OIDC}/test", headers=owner)).json()["keys"] == 1


async def test_groups_that_the_token_leaves_out_come_from_userinfo(tmp_path: Path) -> None:
    async with desk(tmp_path, claims={"groups": None, "email": None, "name": None}) as at:
        at.provider.document = {"userinfo_endpoint": f"{at.provider.issuer}/userinfo"}
        said = {"sub": "248289761001", "groups": ["vpn"], "email": "ada@example.org", "email_verified": True}
        at.provider.userinfo = said | {"name": "Ada"}
        assert (await at.sign_in()).status_code == 303
        assert ((await at.me())["name"], (await at.me())["role"]) == ("ada@example.org", "operator")
        # Of somebody else, or nothing at all.
        for other in ({"sub": "another"}, {"sub": None}, {"sub": "248289761001", "email": 7}):
            at.provider.userinfo = said | other
            assert (await at.sign_in()).status_code == 502
        # What the token says counts: a hash of another access token, and its own groups.
        at.provider.claims = {"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}
        assert (await at.sign_in()).status_code == 502
        at.provider.claims, at.provider.userinfo = {"groups": ["staff"]}, said | {"groups": ["boss"]}
        await sign_in(at.helm.context)
        assert (await at.sign_in()).status_code == 303
        assert (await at.me())["role"] == "viewer"
