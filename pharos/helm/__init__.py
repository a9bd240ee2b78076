"""helm: the controller. Source of truth, CA, web edge on loopback; it dials out to everything."""
