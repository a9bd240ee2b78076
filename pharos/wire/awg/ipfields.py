"""Where the fields stand that offloading reads and writes in the headers of IP, TCP and UDP."""

from typing import Final

# Fields of the network headers, by offset (RFC 791 §3.1, RFC 8200 §3).
IPV4_LENGTH: Final = 2
IPV4_IDENTIFICATION: Final = 4
IPV4_FRAGMENT: Final = 6
IPV4_PROTOCOL: Final = 9
IPV4_CHECKSUM: Final = 10
IPV4_ADDRESSES: Final = slice(12, 20)
IPV6_LENGTH: Final = 4
IPV6_PROTOCOL: Final = 6
IPV6_ADDRESSES: Final = slice(8, 40)

# Fields of the transport headers, by offset (RFC 9293 §3.1, RFC 768).
TCP_SEQUENCE: Final = 4
TCP_LENGTH: Final = 12
TCP_FLAGS: Final = 13
TCP_CHECKSUM: Final = 16
TCP_LEAST: Final = 20
UDP_LENGTH: Final = 4
UDP_CHECKSUM: Final = 6
UDP_BYTES: Final = 8

FIN: Final = 0x01
PSH: Final = 0x08

PROTOCOL_TCP: Final = 6
PROTOCOL_UDP: Final = 17
