"""Shards into batches, in an order that position alone decides."""
