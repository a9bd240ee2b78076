"""The fleet's authority: its keys at rest and what they sign."""
