"""Networks that look at images for metrics, and where their weights come from."""
