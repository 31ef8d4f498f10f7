"""Compiles the operations: tools, recipes, and a cache that many processes share."""
