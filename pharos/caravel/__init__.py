"""caravel: the client. An embeddable library with a command on top of it."""
