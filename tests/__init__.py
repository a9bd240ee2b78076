"""Tests; the tree mirrors ``pharos/``."""
