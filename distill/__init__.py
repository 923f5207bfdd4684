"""A student out of shards."""
