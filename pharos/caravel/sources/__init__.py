"""Where profiles come from: one interface to links, codes, files and accounts."""
