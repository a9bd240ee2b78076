"""A whole fleet on one machine: every daemon its own process, real sockets, no root."""
