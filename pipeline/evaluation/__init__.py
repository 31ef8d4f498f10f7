"""How good a snapshot is."""
