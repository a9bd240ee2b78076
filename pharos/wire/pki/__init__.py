"""Who is who: certificates, roles, and the one check on every handshake (docs/protocols/pki.md)."""
