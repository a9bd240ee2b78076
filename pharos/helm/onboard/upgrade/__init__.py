"""Bringing nodes and relays to another version of their package, and back if it does them no good."""
