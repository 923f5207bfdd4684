"""Whole runs: the stages in order."""
