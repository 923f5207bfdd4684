"""Makes a synthetic data set from a trained classifier alone."""
