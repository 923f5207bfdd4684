"""Scripts that train teachers to measure with. Nothing else in the project learns from real images."""
