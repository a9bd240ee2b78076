"""The page's files and nothing else leave its folder; every other path is a route of the page."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from quart_trio import QuartTrio

from pharos.helm.web.problems import handle_errors
from pharos.helm.web.spa import make_spa_blueprint
from tests.support.http import fetch, serving

HOST = ("Host", "localhost")
PAGE, SCRIPT, SECRET = b"<!doctype html>the page", b"console.log(1)", b"the secret beside the folder"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "spa"
    (folder / "_app" / "immutable").mkdir(parents=True)
    (folder / "index.html").write_bytes(PAGE)
    (folder / "robots.txt").write_bytes(b"none")
    (folder / "_app" / "immutable" / "start.abc.js").write_bytes(SCRIPT)
    (folder / ".hidden").write_bytes(SECRET)
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (tmp_path / "spa-secret.txt").write_bytes(SECRET)
    return folder


@asynccontextmanager
async def edge(folder: Path) -> AsyncIterator[int]:
    app = QuartTrio(__name__, static_folder=None)
    handle_errors(app)
    app.register_blueprint(make_spa_blueprint(folder))
    async with serving(app) as port:
        yield port


async def test_files_are_served_by_their_type(folder: Path) -> None:
    async with edge(folder) as port:
        page = await fetch(port, "/", HOST)
        assert (page.status, page.body) == (200, PAGE)
        assert page.headers["content-type"].startswith("text/html")
        script = await fetch(port, "/_app/immutable/start.abc.js", HOST)
        assert (script.status, script.body) == (200, SCRIPT)
        assert "javascript" in script.headers["content-type"]


async def test_files_named_by_content_are_kept_and_the_page_is_asked_for_again(folder: Path) -> None:
    async with edge(folder) as port:
        assert "immutable" in (await fetch(port, "/_app/immutable/start.abc.js", HOST)).headers["cache-control"]
        for target in ("/", "/index.html", "/robots.txt", "/devices", "/_app/immutable/gone.js"):
            assert (await fetch(port, target, HOST)).headers["cache-control"] == "no-cache"


async def test_browser_that_takes_it_gets_the_compressed_file(folder: Path) -> None:
    packed = gzip.compress(SCRIPT, mtime=0)
    (folder / "_app" / "immutable" / "start.abc.js.gz").write_bytes(packed)
    async with edge(folder) as port:
        target = "/_app/immutable/start.abc.js"
        plain = await fetch(port, target, HOST)
        smaller = await fetch(port, target, HOST, ("Accept-Encoding", "gzip, br"))
        refused = await fetch(port, target, HOST, ("Accept-Encoding", "gzip;q=0"))
        assert (smaller.body, smaller.headers["content-encoding"]) == (packed, "gzip")
        assert smaller.headers["content-type"] == plain.headers["content-type"]
        assert smaller.headers["etag"] != plain.headers["etag"]
        for whole in (plain, refused):
            assert (whole.body, "content-encoding" in whole.headers) == (SCRIPT, False)
        assert {answer.headers["vary"] for answer in (plain, smaller, refused)} == {"Accept-Encoding"}
        # What was not compressed at the build is served as it is.
        page = await fetch(port, "/", HOST, ("Accept-Encoding", "gzip"))
        assert (page.body, "content-encoding" in page.headers) == (PAGE, False)


@pytest.mark.parametrize("target", ["/devices", "/nodes/abc?tab=1", "/a/b/c/d", "/_app", "/_app/immutable/"])
async def test_any_other_path_is_a_route_of_the_page(folder: Path, target: str) -> None:
    async with edge(folder) as port:
        answer = await fetch(port, target, HOST)
        assert (answer.status, answer.body) == (200, PAGE)


async def test_unknown_resource_of_the_api_is_not_a_page(folder: Path) -> None:
    async with edge(folder) as port:
        for target in ("/api/v1/nothing", "/api/", "/api/v1/../../index.html"):
            answer = await fetch(port, target, HOST)
            assert answer.status == 404, target
            assert answer.headers["content-type"] == "application/problem+json"


TRAVERSALS = [
    "/../secret.txt",
    "/../../secret.txt",
    "/..%2fsecret.txt",
    "/..%2Fsecret.txt",
    "/%2e%2e/secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/.%2e/secret.txt",
    "/_app/../../secret.txt",
    "/_app/%2e%2e/%2e%2e/secret.txt",
    "/..%5csecret.txt",
    "/..%255csecret.txt",
    "/%252e%252e/secret.txt",
    "/..;/secret.txt",
    "/../spa-secret.txt",
    "//etc/passwd",
    "/%2fetc%2fpasswd",
    "/%2Fetc/passwd",
    "/etc/passwd%00.html",
    "/index.html%00",
    "/%00",
    "/.hidden",
    "/_app/../.hidden",
    "/./.hidden",
    "/%2ehidden",
]


async def test_no_path_leaves_the_folder(folder: Path) -> None:
    async with edge(folder) as port:
        for target in TRAVERSALS:
            answer = await fetch(port, target, HOST)
            assert answer.status in (200, 308, 400, 404), target
            assert SECRET not in answer.body, target
            assert b"root:" not in answer.body, target


async def test_page_that_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    async with edge(tmp_path) as port:
        answer = await fetch(port, "/", HOST)
        assert answer.status == 404
        assert b"make spa" in answer.body
