"""Fields put side by side so that no two different lists give the same bytes."""


def length_prefixed(*fields: bytes) -> bytes:
    """Join ``fields``, each after its own length in two octets, big-endian.

    Raises: OverflowError — a field is longer than 65,535 octets.
    """
    return b"".join(len(field).to_bytes(2, "big") + field for field in fields)
