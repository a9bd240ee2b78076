"""The site that a beacon shows to whoever does not ask for it by its name in the fleet."""
