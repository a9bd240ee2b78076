"""Engines of the client: they read the local store and nothing else."""
