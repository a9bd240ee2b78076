"""A provider is asked over TLS that this machine trusts, seldom, and by few at once."""

from __future__ import annotations

import gzip
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio

from pharos.helm.accounts.oidc import provider as module
from pharos.helm.accounts.oidc.metadata import read_metadata, well_known
from pharos.helm.accounts.oidc.provider import Provider, Providers
from pharos.helm.errors import BusyError, ProviderAwayError, ProviderError
from tests.support.oidcprovider import SLOW, OidcProvider, answer, running_provider
from tests.support.sites import running_tcp, site_context, trust_of_the_system


@asynccontextmanager
async def running_secure(context: ssl.SSLContext) -> AsyncIterator[str]:
    """Run a provider's two documents over TLS; give its issuer."""
    provider = OidcProvider()

    async def serve(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError):
            request = bytes(await secure.receive_some())
            keys = {"keys": [key.as_dict(private=False) for key in provider.published]}
            body = json.dumps(keys if request.startswith(b"GET /keys ") else provider.metadata()).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            await secure.send_all(head + body)
            await secure.aclose()

    async with running_tcp(serve) as port:
        provider.issuer = f"https://localhost:{port}"
        yield provider.issuer


async def test_authority_of_this_machine_is_trusted_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = site_context("localhost", alpn=("http/1.1",))
    with trio.fail_after(20):
        async with running_secure(context) as issuer:
            with pytest.raises(ProviderAwayError, match="certificate verify failed"):
                await Provider(issuer).metadata()
            trust_of_the_system(monkeypatch, tmp_path)
            assert (await Provider(issuer).metadata()).token_endpoint == f"{issuer}/token"
        async with running_secure(site_context("other.example")) as issuer:
            with pytest.raises(ProviderAwayError, match="mismatch"):
                await Provider(issuer).metadata()


async def test_what_is_published_is_read_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_provider() as there:
        provider = Provider(there.issuer)
        for _ in range(3):
            await provider.metadata()
            assert len(await provider.keys()) == 2
        assert len(there.asked) == 2
        monkeypatch.setattr(module, "LIFETIME", 0.0)
        await provider.metadata()
        assert len(there.asked) == 4


async def test_provider_that_holds_everybody_up_is_waited_for_by_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.05)
    refusals: list[type[Exception]] = []
    async with running_provider() as there:
        there.fault = lambda _path: answer({}, SLOW)
        provider = Provider(there.issuer)

        async def ask() -> None:
            try:
                await provider.metadata()
            except (BusyError, ProviderAwayError) as error:
                refusals.append(type(error))

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(module.MAX_WAITING + 10):
                    nursery.start_soon(ask)
    assert len(refusals) == module.MAX_WAITING + 10
    assert refusals.count(BusyError) >= 9


async def test_packed_answer_is_not_opened() -> None:
    """Row 41's bomb, by another way: a kilobyte that becomes a gigabyte."""
    async with running_provider() as there:
        packed = answer({})
        packed.set_data(gzip.compress(b" " * 10**6))
        packed.headers["Content-Encoding"] = "gzip"
        there.fault = lambda _path: packed
        with pytest.raises(ProviderError, match="packs its answer"):
            await Provider(there.issuer).metadata()


def test_providers_keep_the_one_that_is_set() -> None:
    providers = Providers()
    one = providers.of("https://id.example")
    assert providers.of("https://id.example") is one
    assert providers.of("https://other.example") is not one


@pytest.mark.parametrize("octets", [b"", b"<html>", b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"issuer": 7}'])
def test_document_that_is_none_is_refused(octets: bytes) -> None:
    with pytest.raises(ProviderError):
        read_metadata(octets, "https://id.example")


def test_document_lies_below_the_issuer() -> None:
    assert well_known("https://id.example/realm/") == "https://id.example/realm/.well-known/openid-configuration"
    assert well_known("https://id.example") == "https://id.example/.well-known/openid-configuration"


def test_provider_elsewhere_names_no_endpoint_of_this_machine() -> None:
    """A provider could otherwise have helm ask whatever listens on helm's own loopback."""
    there = OidcProvider(issuer="https://id.example", document={"token_endpoint": "http://127.0.0.1:8440/api/v1/ca"})
    with pytest.raises(ProviderError, match="not https"):
        read_metadata(json.dumps(there.metadata()).encode(), there.issuer)
