"""Bringing machines into the fleet."""
