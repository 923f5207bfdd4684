"""The structure of a network: which channels and blocks can go, and their removal."""
