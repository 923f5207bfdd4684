"""Who makes the shards: this process, processes of this machine, or the tasks of a Ray cluster."""
