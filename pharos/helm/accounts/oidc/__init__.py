"""Sign-in by an OpenID provider: its documents and keys, its ID tokens, the code flow of browsers, the device code."""
