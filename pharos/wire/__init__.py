"""The language every Pharos daemon speaks; it imports none of them."""
