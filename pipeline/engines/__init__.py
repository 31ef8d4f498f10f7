"""Engines: the processes of a run, and how their gradients are combined."""
