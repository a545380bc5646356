"""Descriptors of images: made in batches, written as shards, taken over where they are known."""
