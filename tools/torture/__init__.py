"""Torture tests: runs that are killed, cut off and starved, and checks of what remains of them."""
