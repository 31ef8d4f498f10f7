"""Images from a snapshot."""
