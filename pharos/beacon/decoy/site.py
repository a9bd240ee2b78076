"""What the decoy shows, files read once or a page of its own, and the answer to each request.

A request's path is looked up among the paths that were found when the beacon started. It never becomes the name of a
file (security.md row 63).
"""

from __future__ import annotations

import mimetypes
import os
import stat
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import attrs

from pharos.wire.errors import ConfigError
from pharos.wire.units import MIB

# A site that says who one is: a page, a style sheet, some pictures. All of it stays in memory.
MAX_FILES: Final = 500
MAX_SITE: Final = 16 * MIB

SERVER: Final = "nginx"
"""What the Server field says unless the operator sets another: the most common web server, without a version."""

Fields = list[tuple[str, str]]

_REASONS: Final = {200: "OK", 304: "Not Modified", 400: "Bad Request", 404: "Not Found", 405: "Not Allowed"}
_INDEX: Final = "index.html"
# A time that does not tell when the beacon was installed, or started last.
_WELCOME_MODIFIED: Final = 1_716_985_000.0


@attrs.frozen(kw_only=True)
class Page:
    """One resource of the site."""

    body: bytes = attrs.field(repr=False)
    media_type: str
    modified: float
    """Seconds since 1970."""

    @property
    def etag(self) -> str:
        """A validator in the form that web servers give it (RFC 9110 §8.8.3): when it was modified, and its size."""
        return f'"{int(self.modified):x}-{len(self.body):x}"'


@attrs.frozen(kw_only=True)
class Answer:
    """A response."""

    status: int
    fields: Fields
    """Names as HTTP/1.1 is used to seeing them; HTTP/2 wants lower case."""
    body: bytes
    """What is to be sent: nothing for HEAD, whatever the length says."""

    @property
    def reason(self) -> str:
        return _REASONS[self.status]


@attrs.frozen(kw_only=True)
class Site:
    """A few pages, by the path that asks for them."""

    pages: Mapping[str, Page]
    server: str = SERVER

    def answer(self, method: str, target: str, *, if_none_match: str = "", now: float) -> Answer:
        """Answer one request. ``target`` is its path, perhaps with a query; ``now`` is in seconds since 1970."""
        page = self.pages.get(unquote(target.partition("?")[0]))
        if method not in {"GET", "HEAD"}:
            answer = self.error(405, now=now)
        elif page is None:
            answer = self.error(404, now=now)
        elif if_none_match == page.etag:
            answer = Answer(status=304, fields=[*self._fields(now), ("ETag", page.etag)], body=b"")
        else:
            answer = self._show(page, now)
        return attrs.evolve(answer, body=b"") if method == "HEAD" else answer

    def _show(self, page: Page, now: float) -> Answer:
        fields = [
            *self._fields(now),
            ("Content-Type", page.media_type),
            ("Content-Length", str(len(page.body))),
            ("Last-Modified", formatdate(page.modified, usegmt=True)),
            ("ETag", page.etag),
        ]
        return Answer(status=200, fields=fields, body=page.body)

    def error(self, status: int, *, now: float) -> Answer:
        """Return the page that says what is wrong."""
        title = f"{status} {_REASONS[status]}"
        body = _ERROR.format(title=title, server=self.server).replace("\n", "\r\n").encode()
        fields = [*self._fields(now), ("Content-Type", "text/html"), ("Content-Length", str(len(body)))]
        return Answer(status=status, fields=fields, body=body)

    def _fields(self, now: float) -> Fields:
        return [("Server", self.server), ("Date", formatdate(now, usegmt=True))]


def load_site(source: str, *, server: str = SERVER) -> Site:
    """Read a site: of all files below a directory, of one file, or, if ``source`` is empty, a page of our own.

    Symbolic links and names that begin with a dot are left out.

    Raises: ConfigError — it cannot be read, or is too much.
    """
    if not source:
        page = Page(body=_WELCOME.encode(), media_type="text/html", modified=_WELCOME_MODIFIED)
        return Site(pages={"/": page, f"/{_INDEX}": page}, server=server)
    root = Path(source)
    try:
        if not root.is_dir():
            return Site(pages=dict.fromkeys(("/", f"/{root.name}"), _read(root)), server=server)
        pages: dict[str, Page] = {}
        size = 0
        for folder, folders, names in os.walk(root, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(folder, name)
                if name.startswith(".") or not stat.S_ISREG(path.lstat().st_mode):
                    continue
                page = _read(path)
                size += len(page.body)
                pages["/" + path.relative_to(root).as_posix()] = page
                if len(pages) > MAX_FILES or size > MAX_SITE:
                    raise ConfigError(f"decoy_site = {source!r}: more than {MAX_FILES} files or {MAX_SITE // MIB} MiB")
    except OSError as error:
        raise ConfigError(f"decoy_site = {source!r} cannot be read: {error.strerror}") from error
    for path_text, page in list(pages.items()):
        if path_text.endswith(f"/{_INDEX}"):
            pages[path_text.removesuffix(_INDEX)] = page
    if "/" not in pages:
        raise ConfigError(f"decoy_site = {source!r} has no {_INDEX}")
    return Site(pages=pages, server=server)


def _read(path: Path) -> Page:
    if path.stat().st_size > MAX_SITE:
        raise ConfigError(f"{path} has more than {MAX_SITE // MIB} MiB")
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return Page(body=path.read_bytes(), media_type=media_type, modified=path.stat().st_mtime)


def _raise(error: OSError) -> None:
    raise error


_ERROR: Final = """<html>
<head><title>{title}</title></head>
<body>
<center><h1>{title}</h1></center>
<hr><center>{server}</center>
</body>
</html>
"""

_WELCOME: Final = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<title>Welcome</title>
<style>
body { width: 35em; margin: 0 auto; font-family: Tahoma, Verdana, Arial, sans-serif; }
</style>
</head>
<body>
<h1>Welcome</h1>
<p>If you see this page, the web server is installed and works. Further configuration is required.</p>
</body>
</html>
"""
