"""Row 46. Position: a site that a browser on helm's machine visits, and whose name points to 127.0.0.1 a moment later.

Wants: to be helm's own origin, and so to read and do all that whoever sits there may. Countermeasure: Host has to be
one of helm's names, with the port; and with `web.tls` there is no answer without a certificate. What odd spellings get
is in tests/helm/web/test_guard.py, and a browser's own word in tests/browser/test_attacks.py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from quart_trio import QuartTrio

from pharos.helm.config import HelmConfig
from pharos.helm.web import app as module
from pharos.helm.web.app import make_loopback_app
from tests.support.helm import open_helm
from tests.support.http import asking, fetch, open_websocket, serving
from tests.support.signin import sign_in
from tests.support.webtls import HOST, REFUSED, ask, browser_context, connected, new_admin, new_browser, serving_tls

EVIL = "evil.example:8440"
EVIL_ORIGIN = ("Origin", f"http://{EVIL}")


def routes(app: QuartTrio) -> Iterator[tuple[str, str]]:
    """Give method and path of everything that is served, the OpenAPI document and the page's own files included."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            if not rule.websocket:
                yield method, re.sub(r"<[^>]*>", "x", rule.rule)


@pytest.mark.red_inside
async def test_a46_every_path_is_misdirected_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_helm(tmp_path) as helm:
        app, me = make_loopback_app(helm.context, {HOST}), await sign_in(helm.context)
        paths = sorted(set(routes(app)))
        assert len([path for _, path in paths if path.startswith("/api/v1/")]) > 60
        async with asking(app, f"http://{EVIL}") as client:
            for method, path in paths:
                assert (await client.request(method, path, headers=me)).status_code == 421, (method, path)
        async with serving(app) as port, open_websocket(port, "/api/v1/live", EVIL_ORIGIN, *me, host=EVIL) as refused:
            assert refused == 421
        # Weakened: any name will do.
        monkeypatch.setattr(module, "guard_loopback", lambda _app, _hosts, scheme: None)
        async with asking(make_loopback_app(helm.context, {HOST}), f"http://{EVIL}") as client:
            answered = [(await client.get(path, headers=me)).status_code for method, path in paths if method == "GET"]
        assert 421 not in answered
        assert answered.count(200) > 20


async def test_a46_certificate_does_not_make_up_for_the_name_nor_the_name_for_it(tmp_path: Path) -> None:
    async with open_helm(tmp_path) as helm, serving_tls(helm) as edge:
        _, credentials = await new_browser(helm, await new_admin(helm))
        with pytest.raises(REFUSED):
            async with connected(edge.port, browser_context(edge.shows, None)) as stream:
                await ask(stream)
        async with connected(edge.port, browser_context(edge.shows, credentials)) as stream:
            for method, path in sorted(set(routes(make_loopback_app(helm.context, {HOST}, tls=True)))):
                if method == "GET":
                    assert (await ask(stream, path, host=EVIL)).status == 421, path
            # Plain HTTP's origin is another one, though its host and port are the same.
            assert (await ask(stream, "/", ("Origin", f"http://{HOST}"))).status == 403
            assert (await ask(stream, "/", ("Origin", f"https://{HOST}"))).status != 403


async def test_a46_only_what_the_operator_names_is_another_name(tmp_path: Path) -> None:
    """`web_origins`, for ``ssh -L 9000:localhost:8440``."""
    config = HelmConfig(state=tmp_path, web_origins=("http://localhost:9000",))
    async with open_helm(tmp_path) as helm:
        me = await sign_in(helm.context)
        for hosts, status in ((HelmConfig(state=tmp_path).web_hosts, 421), (config.web_hosts, 200)):
            async with serving(make_loopback_app(helm.context, hosts)) as port:
                ask_as = functools.partial(fetch, port, "/api/v1/status")
                tunnel = ("Host", "localhost:9000")
                assert (await ask_as(tunnel, ("Origin", "http://localhost:9000"), *me)).status == status
                assert (await ask_as(("Host", "localhost:9001"), *me)).status == 421
                assert (await ask_as(tunnel, ("Origin", "http://localhost:9001"), *me)).status in (403, 421)
                assert (await ask_as(("Host", HOST), *me)).status == 200
