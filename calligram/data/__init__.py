"""Captioned pictures: named sources, WebDataset shards, and the batches read back from them."""
