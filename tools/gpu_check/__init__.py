"""A check of about ten minutes that shows how hrgan runs on a GPU: steps as values, and a runner that knows
none of them."""
