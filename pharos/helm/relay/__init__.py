"""helm's side of the relays: tunnels that helm dials, and what arrives through them."""
