"""The training loop, which knows no particular family."""
