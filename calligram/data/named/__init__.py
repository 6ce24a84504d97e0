"""Data sets of others by name or in their own layouts: a file for each kind, which makes one of ours in the cache."""
