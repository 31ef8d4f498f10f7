"""Puts the parts of commands together, in the same way for commands, jobs and tools."""
