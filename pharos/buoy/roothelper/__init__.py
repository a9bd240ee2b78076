"""The few acts that take root, done by a process of its own for an agent that has no capability."""
