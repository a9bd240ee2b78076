"""beacon: the relay. It forwards opaque frames between devices and helm, keeps no user data and can read nothing."""
