"""What can be wrong with one device's way into its fleet, and what to do about each."""
