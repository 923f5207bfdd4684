"""The prune stage: makes the teacher smaller."""
