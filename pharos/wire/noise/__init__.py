"""The Noise Protocol Framework (revision 34) for ``25519_ChaChaPoly_BLAKE2s``; docs/protocols/noise.md."""
