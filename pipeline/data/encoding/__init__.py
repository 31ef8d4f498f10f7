"""Data sets of latents: shards again, whose samples have what a codec makes of their images beside them."""
