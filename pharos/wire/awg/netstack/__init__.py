"""TCP/IP in this program: streams and datagrams over packets that a tunnel carries, with no root and no kernel."""
