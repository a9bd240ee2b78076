"""WireGuard's handshake a second time, in Noise's own terms and on other libraries, to check ours against.

Noise rev 34 §5.2 and §9 (psk2), wireguard.pdf §5.4; OpenSSL for DH, libsodium for AEAD, the standard library
for HMAC.
"""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from nacl.bindings import (
    crypto_aead_chacha20poly1305_ietf_decrypt,
    crypto_aead_chacha20poly1305_ietf_encrypt,
)


def dh(private, public):
    return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))


def dh_public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


class SymmetricState:
    def __init__(self, responder_public):
        self.h = self.ck = hashlib.blake2s(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s").digest()
        self.k = b""
        self.mix_hash(b"WireGuard v1 zx2c4 Jason@zx2c4.com")  # The prologue.
        self.mix_hash(responder_public)  # The pre-message.

    def mix_hash(self, data):
        self.h = hashlib.blake2s(self.h + data).digest()

    def hkdf(self, material, count):
        temporary = hmac.new(self.ck, material, hashlib.blake2s).digest()
        outputs = [b""]
        for number in range(1, count + 1):
            outputs.append(hmac.new(temporary, outputs[-1] + bytes([number]), hashlib.blake2s).digest())
        return outputs[1:]

    def mix_key(self, material):
        self.ck, self.k = self.hkdf(material, 2)

    def mix_key_and_hash(self, material):
        self.ck, hashed, self.k = self.hkdf(material, 3)
        self.mix_hash(hashed)

    def encrypt_and_hash(self, plaintext):
        sealed = crypto_aead_chacha20poly1305_ietf_encrypt(plaintext, self.h, bytes(12), self.k)
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed):
        plaintext = crypto_aead_chacha20poly1305_ietf_decrypt(sealed, self.h, bytes(12), self.k)
        self.mix_hash(sealed)
        return plaintext


def mac1(receiver_public, message):
    key = hashlib.blake2s(b"mac1----" + receiver_public).digest()
    return hashlib.blake2s(message, key=key, digest_size=16).digest()


class Initiator:
    def __init__(self, private, responder_public, psk):
        self.private, self.responder_public, self.psk = private, responder_public, psk
        self.state = SymmetricState(responder_public)

    def write_initiation(self, header, index, ephemeral, timestamp):
        state, self.ephemeral = self.state, ephemeral
        public = dh_public(ephemeral)
        state.mix_hash(public)
        state.mix_key(public)  # A psk handshake mixes each ephemeral twice.
        state.mix_key(dh(ephemeral, self.responder_public))
        static = state.encrypt_and_hash(dh_public(self.private))
        state.mix_key(dh(self.private, self.responder_public))
        sealed_timestamp = state.encrypt_and_hash(timestamp)
        message = struct.pack("<II", header, index) + public + static + sealed_timestamp
        return message + mac1(self.responder_public, message) + bytes(16)

    def read_response(self, message):
        """Return (send key, receive key, the responder's index)."""
        state = self.state
        (remote_index,) = struct.unpack_from("<I", message, 4)
        ephemeral = message[12:44]
        state.mix_hash(ephemeral)
        state.mix_key(ephemeral)
        state.mix_key(dh(self.ephemeral, ephemeral))
        state.mix_key(dh(self.private, ephemeral))
        state.mix_key_and_hash(self.psk)
        assert state.decrypt_and_hash(message[44:60]) == b""
        send, receive = state.hkdf(b"", 2)
        return send, receive, remote_index


class Responder:
    def __init__(self, private, psk):
        self.private, self.psk = private, psk
        self.state = SymmetricState(dh_public(private))

    def read_initiation(self, message):
        """Return (initiator's public key, timestamp)."""
        state = self.state
        (self.remote_index,) = struct.unpack_from("<I", message, 4)
        self.remote_ephemeral = message[8:40]
        state.mix_hash(self.remote_ephemeral)
        state.mix_key(self.remote_ephemeral)
        state.mix_key(dh(self.private, self.remote_ephemeral))
        self.remote_static = state.decrypt_and_hash(message[40:88])
        state.mix_key(dh(self.private, self.remote_static))
        return self.remote_static, state.decrypt_and_hash(message[88:116])

    def write_response(self, header, index, ephemeral):
        """Return (message, send key, receive key)."""
        state = self.state
        public = dh_public(ephemeral)
        state.mix_hash(public)
        state.mix_key(public)
        state.mix_key(dh(ephemeral, self.remote_ephemeral))
        state.mix_key(dh(ephemeral, self.remote_static))
        state.mix_key_and_hash(self.psk)
        message = struct.pack("<III", header, index, self.remote_index) + public + state.encrypt_and_hash(b"")
        receive, send = state.hkdf(b"", 2)
        return message + mac1(self.remote_static, message) + bytes(16), send, receive
