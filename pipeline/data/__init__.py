"""Images into shards, shards into batches in an order that position alone decides."""
