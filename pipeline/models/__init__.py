"""Networks and families; one folder a family."""
