"""Weights of others in and out: one file a family, each a table of names. Nothing is unpickled and no code is run."""
