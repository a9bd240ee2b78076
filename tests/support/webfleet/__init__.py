"""A whole helm for browsers to look at, in a process of its own that a test gives orders (`WebFleet`)."""
