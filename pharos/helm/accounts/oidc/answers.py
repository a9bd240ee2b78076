"""What a provider's endpoints answer: tokens, a device code, or a refusal (RFC 6749 §5, RFC 8628 §3.2), without I/O."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec

from pharos.helm.errors import ProviderError

A = TypeVar("A")
# RFC 6749 appendix A.7 bounds no error code; those that are registered have 30 characters.
MAX_CODE: Final = 64


class Tokens(msgspec.Struct, kw_only=True):
    """Tokens."""

    id_token: str
    access_token: str = ""
    """Opens the provider's userinfo, and nothing of ours."""


class DeviceCode(msgspec.Struct, kw_only=True):
    """A device code."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: int
    verification_uri_complete: str = ""
    interval: int = 5


class _Refusal(msgspec.Struct, kw_only=True):
    error: str


class RefusedError(ProviderError):
    """The provider answered with an error of OAuth."""

    def __init__(self, issuer: str, code: str) -> None:
        super().__init__(f"{issuer} refused: {code}")
        self.code: Final = code
        """Such as ``invalid_grant`` or ``slow_down``."""


def read_answer(kind: type[A], status: int, body: bytes, issuer: str) -> A:
    """Return an answer as ``kind``.

    Raises: RefusedError — the provider said no. ProviderError — it said nothing that can be read.
    """
    wanted: Any = kind if status == HTTPStatus.OK else _Refusal
    try:
        found = msgspec.json.decode(body, type=wanted)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProviderError(f"{issuer} answered {status} with something else than was asked: {error}") from error
    if isinstance(found, _Refusal):
        raise RefusedError(issuer, check_code(found.error))
    answer: A = found
    return answer


def check_code(code: str) -> str:
    """Return an error code of OAuth as it may be shown."""
    return code if code.isascii() and code.isprintable() and 0 < len(code) <= MAX_CODE else "an unnamed error"
