"""Words and pictures as ids: text BPE and image tokenizers."""
