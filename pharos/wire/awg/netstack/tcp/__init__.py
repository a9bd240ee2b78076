"""TCP without I/O: packets, time and randomness in, packets out (RFC 9293)."""
