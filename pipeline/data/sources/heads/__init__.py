"""Heads of ellipsoids, as a camera sees them from around."""
