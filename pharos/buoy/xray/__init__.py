"""A real Xray under the agent's hand: its configuration, its API, and what it does not tell by itself."""
