"""What the commands are called, take and say: a file a command."""
