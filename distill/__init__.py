"""The distill stage: trains a student on shards."""
