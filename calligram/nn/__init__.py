"""The layers that every model here stands on: attention, blocks, positions, the key-value cache."""
