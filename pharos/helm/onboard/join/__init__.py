"""A bare machine becomes a node or relay: one step after another, each of which can be done again."""
