"""A classifier as a file that runs without this project."""
