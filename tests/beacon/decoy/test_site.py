"""The decoy's pages: what an operator puts there, found by path and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pharos.beacon.decoy import site as site_module
from pharos.beacon.decoy.site import SERVER, Site, load_site
from pharos.wire.errors import ConfigError

NOW = 1_790_000_000.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "about us").mkdir(parents=True)
    (root / "index.html").write_text("<p>home")
    (root / "about us/index.html").write_text("<p>us")
    (root / "style.css").write_text("p { color: red }")
    (root / ".htpasswd").write_text("secret")
    (root / ".git").mkdir()
    (root / ".git/config").write_text("secret")
    (tmp_path / "outside").write_text("secret")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "folder").symlink_to(tmp_path)
    return root


@pytest.mark.parametrize(
    ("target", "body", "media_type"),
    [
        ("/", "<p>home", "text/html"),
        ("/index.html?from=mail", "<p>home", "text/html"),
        ("/about%20us/", "<p>us", "text/html"),
        ("/style.css", "p { color: red }", "text/css"),
    ],
)
def test_directory_is_shown_as_it_is(folder: Path, target: str, body: str, media_type: str) -> None:
    answer = load_site(str(folder)).answer("GET", target, now=NOW)
    fields = dict(answer.fields)
    assert (answer.status, answer.body.decode(), fields["Content-Type"]) == (200, body, media_type)
    assert (fields["Server"], fields["Content-Length"]) == (SERVER, str(len(body)))
    assert fields["Date"] == "Mon, 21 Sep 2026 14:13:20 GMT"


@pytest.mark.parametrize(
    "target",
    [
        *("/nothing", "/about%20us", "", "*", "index.html", "//", "/.htpasswd", "/.git/config"),
        *("/../outside", "/%2e%2e/outside", "/..%2foutside", "/link", "/folder/outside", "/style.css%00", "/\x00"),
        *("http://example.com/", "/%ff%fe", "/about us/../index.html"),
    ],
)
def test_nothing_else_is_found(folder: Path, target: str) -> None:
    answer = load_site(str(folder)).answer("GET", target, now=NOW)
    assert answer.status == 404
    assert b"secret" not in answer.body
    assert b"404 Not Found" in answer.body


@given(st.text(max_size=60))
def test_any_path_is_answered(target: str) -> None:
    assert load_site("").answer("GET", target, now=NOW).status in {200, 404}


def test_head_is_answered_without_a_body_and_other_methods_are_not_allowed(folder: Path) -> None:
    site = load_site(str(folder))
    head, get = site.answer("HEAD", "/", now=NOW), site.answer("GET", "/", now=NOW)
    assert (head.status, head.fields, head.body) == (200, get.fields, b"")
    assert site.answer("HEAD", "/nothing", now=NOW).body == b""
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "get"):
        assert site.answer(method, "/", now=NOW).status == 405


def test_page_that_the_browser_has_is_not_sent_again(folder: Path) -> None:
    site = load_site(str(folder))
    etag = dict(site.answer("GET", "/", now=NOW).fields)["ETag"]
    again = site.answer("GET", "/", if_none_match=etag, now=NOW)
    assert (again.status, again.body) == (304, b"")
    assert site.answer("GET", "/", if_none_match='"other"', now=NOW).status == 200


def test_one_file_is_a_site(folder: Path) -> None:
    site = load_site(str(folder / "about us/index.html"), server="Apache")
    assert site.answer("GET", "/", now=NOW).body == b"<p>us"
    assert dict(site.answer("GET", "/x", now=NOW).fields)["Server"] == "Apache"


def test_without_a_site_there_is_a_page_that_says_nothing_of_us() -> None:
    site: Site = load_site("")
    everything = repr([site.answer("GET", target, now=NOW) for target in ("/", "/x")]).lower()
    assert "welcome" in everything
    assert not any(word in everything for word in ("pharos", "beacon", "vpn", "grpc", "helm"))


@pytest.mark.parametrize(
    ("source", "why"),
    [("nowhere", "cannot be read"), (".", "has no index.html")],
)
def test_site_that_cannot_be_shown_is_refused(tmp_path: Path, source: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load_site(str(tmp_path / source))


def test_site_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, limit in (("MAX_FILES", 2), ("MAX_SITE", 20)):
        with monkeypatch.context() as patch:
            patch.setattr(site_module, name, limit)
            with pytest.raises(ConfigError, match="more than"):
                load_site(str(folder))
    assert load_site(str(folder)).pages
