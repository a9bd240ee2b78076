"""Profiles: what each device is told, built from the record and sealed to the device's own key."""
