"""helm's web edge: loopback for people, a Unix socket for the operator's own commands."""
