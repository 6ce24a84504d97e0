"""Image tokenizers that others trained, as ours: one file for each layout of theirs."""
