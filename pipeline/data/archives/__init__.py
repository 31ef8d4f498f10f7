"""Archives of files, read within bounds: nothing is unpacked to disk."""
