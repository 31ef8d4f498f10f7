"""The loop. It knows no family."""
