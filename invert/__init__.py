"""Images out of a teacher."""
