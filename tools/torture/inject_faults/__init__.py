"""Injects faults at any system call, and checks how a command reports them and whether running it again
recovers."""
