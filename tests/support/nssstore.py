"""Import a PKCS #12 file into a new certificate store, as Firefox and Chromium on Linux do: ``FILE STORE``.

The file's password is read from standard input. A process of its own, for NSS is one store for a whole process; it
calls the library itself, whose `pk12util` is in a package that nothing else needs. The calls are those of Chromium's
`nsPKCS12Blob.cpp`; declarations are in p12.h, p12plcy.h, pk11pub.h and nss.h of NSS 3.
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_long, c_uint, c_ulong, c_void_p
from pathlib import Path

# ciferfam.h
PKCS12_DES_EDE3_168 = 0x20000 | 0o22
PKCS12_AES_CBC_256 = 0x20000 | 0o33


class Item(Structure):
    """SECItem."""

    _fields_ = (("type", c_int), ("data", c_char_p), ("length", c_uint))


# What to call a certificate whose nickname is taken; in a new store none is.
OnCollision = CFUNCTYPE(c_void_p, POINTER(Item), POINTER(c_int), c_void_p)


def main(file: Path, store: Path, password: str) -> None:
    nss, smime = (ctypes.CDLL(f"lib{name}3.so") for name in ("nss", "smime"))
    for library, name, result, arguments in (
        (nss, "NSS_InitReadWrite", c_int, (c_char_p,)),
        (nss, "PK11_GetInternalKeySlot", c_void_p, ()),
        (nss, "PK11_InitPin", c_int, (c_void_p, c_char_p, c_char_p)),
        (nss, "PK11_FreeSlot", None, (c_void_p,)),
        (nss, "PORT_GetError", c_int, ()),
        (smime, "SEC_PKCS12EnableCipher", c_int, (c_long, c_int)),
        (smime, "SEC_PKCS12DecoderStart", c_void_p, (POINTER(Item), *[c_void_p] * 7)),
        (smime, "SEC_PKCS12DecoderUpdate", c_int, (c_void_p, c_char_p, c_ulong)),
        (smime, "SEC_PKCS12DecoderVerify", c_int, (c_void_p,)),
        (smime, "SEC_PKCS12DecoderValidateBags", c_int, (c_void_p, OnCollision)),
        (smime, "SEC_PKCS12DecoderImportBags", c_int, (c_void_p,)),
        (smime, "SEC_PKCS12DecoderFinish", None, (c_void_p,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments

    def done(result: int, what: str) -> None:
        if result != 0:
            sys.exit(f"{what}: NSS error {nss.PORT_GetError()}")

    done(nss.NSS_InitReadWrite(f"sql:{store}".encode()), "open the store")
    slot = nss.PK11_GetInternalKeySlot()
    done(nss.PK11_InitPin(slot, None, b""), "make the store")
    for cipher in (PKCS12_DES_EDE3_168, PKCS12_AES_CBC_256):
        done(smime.SEC_PKCS12EnableCipher(cipher, 1), "allow a cipher")
    # A BMPString with its end (RFC 7292 appendix B.1).
    text = password.encode("utf-16-be") + b"\0\0"
    secret = Item(0, text, len(text))
    decoder = smime.SEC_PKCS12DecoderStart(byref(secret), slot, *[None] * 6)
    data = file.read_bytes()
    done(smime.SEC_PKCS12DecoderUpdate(decoder, data, len(data)), "read the file")
    done(smime.SEC_PKCS12DecoderVerify(decoder), "try the password")
    done(smime.SEC_PKCS12DecoderValidateBags(decoder, OnCollision(lambda *_: None)), "look at what is inside")
    done(smime.SEC_PKCS12DecoderImportBags(decoder), "import it")
    smime.SEC_PKCS12DecoderFinish(decoder)
    nss.PK11_FreeSlot(slot)
    done(nss.NSS_Shutdown(), "close the store")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.stdin.readline().rstrip("\n"))
