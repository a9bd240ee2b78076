"""helm's desk from elsewhere: its page and API over this device's passage, on loopback and on the command line."""
