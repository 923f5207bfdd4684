"""The extend stage: teaches a classifier new classes from images of those alone, and shards of the old ones."""
