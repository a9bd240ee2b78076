"""PharosVPN: a self-hostable VPN fleet platform on Trio."""

__version__ = "0.1.0"
