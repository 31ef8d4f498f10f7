"""The documentation site: pages that are generated from the program, and those that live elsewhere."""
