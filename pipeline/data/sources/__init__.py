"""Where pictures come from, and which class each of them has."""
