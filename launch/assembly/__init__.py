"""The parts of a command put together: one way for commands, jobs and tools."""
