"""Runs that are killed, cut off and starved, and what is left of them."""
