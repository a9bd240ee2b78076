"""The nouns of a fleet as facts, knowing neither SQL nor protobuf."""
