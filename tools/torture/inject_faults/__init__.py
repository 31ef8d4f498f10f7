"""Faults at any system call: what a command says of them, and whether the same command makes them good."""
