"""Networks and families, with a folder for each family."""
