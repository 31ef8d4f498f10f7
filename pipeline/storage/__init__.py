"""What is written to disk so that it survives, and read back verified."""
