"""Shards on disk: their samples, their index, and all that reads, checks or writes them."""
