"""A smaller teacher."""
