"""Lists from elsewhere, brought into the record."""
