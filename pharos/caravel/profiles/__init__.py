"""What a device knows of its fleet, and where it keeps it."""
