"""REALITY: what a node and its devices have to agree on; the engine is not here yet."""
