"""Row 53. Position: a page that shows helm's in a frame, or asks for its answers as something that they are not; later,
whoever sits down at the same browser.

Wants: clicks of an admin who does not see what on; a script out of a name that a user chose; a secret out of the cache.
Countermeasure: every answer, whoever asks and whatever it says, forbids frames, sniffing and keeping. What a browser
makes of them: tests/browser/test_attacks.py. The page's own files, which may be kept: tests/helm/web/test_spa.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from pharos.helm.web import app as module
from pharos.helm.web.app import make_loopback_app
from tests.support.helm import open_helm
from tests.support.http import asking
from tests.support.signin import sign_in
from tests.support.webtls import HOST


def lacks(answer: httpx.Response) -> set[str]:
    """Return which of the three an answer leaves open."""
    policy = answer.headers.get("content-security-policy", "")
    found = set()
    if "frame-ancestors 'none'" not in policy.split("; "):
        found.add("frames")
    if answer.headers.get("x-content-type-options") != "nosniff":
        found.add("sniffing")
    path = answer.request.url.path
    # The page's own files hold no secret: they are the same in every installation.
    kept = "no-store" if path.startswith("/api/") else "no-cache"
    if answer.headers.get("cache-control") not in {kept, "no-store"}:
        found.add("caching")
    return found


@pytest.mark.red_inside
async def test_a53_every_answer_forbids_all_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_helm(tmp_path) as helm:
        headers = dict(await sign_in(helm.context))
        app = make_loopback_app(helm.context, {HOST})
        rules = [rule for rule in app.url_map.iter_rules() if not rule.websocket]
        asked = {(m, re.sub(r"<[^>]*>", "x", rule.rule)) for rule in rules for m in (rule.methods or set()) - {"HEAD"}}
        asked |= {("GET", path) for path in ("/index.html", "/nothing", "/api/v1/nothing", "/.git/config", "/%00")}
        async with asking(app) as client:
            for method, path in sorted(asked):
                answer = await client.request(method, path, headers=headers)
                assert lacks(answer) == set(), (method, path, answer.status_code)
            for sent in ({}, headers | {"Host": "evil.example"}, {"Origin": "http://evil.example"}):
                for path in ("/", "/api/v1/status", "/api/v1/nothing", "/api/v1/openapi.json", "/metrics"):
                    answer = await client.get(path, headers=sent)
                    assert lacks(answer) == set(), (path, sent, answer.status_code)
        # Weakened: nothing is added.
        monkeypatch.setattr(module, "guard_loopback", lambda _app, _hosts, scheme: None)
        async with asking(make_loopback_app(helm.context, {HOST})) as client:
            assert lacks(await client.get("/api/v1/status", headers=headers)) == {"frames", "sniffing", "caching"}


async def test_a53_answer_says_by_itself_what_it_is(tmp_path: Path) -> None:
    """nosniff makes a browser believe Content-Type, so it has to be right, and none of them text that is HTML."""
    async with open_helm(tmp_path) as helm:
        headers = dict(await sign_in(helm.context, name="<script>alert(1)</script>"))
        async with asking(make_loopback_app(helm.context, {HOST})) as client:
            for path in ("/api/v1/admins", "/api/v1/session", "/api/v1/audit", "/api/v1/nothing"):
                answer = await client.get(path, headers=headers)
                assert answer.headers["content-type"] in ("application/json", "application/problem+json"), path
