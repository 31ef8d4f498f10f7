"""Processes, and where their gradients meet."""
