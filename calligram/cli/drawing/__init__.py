"""What ``calligram generate`` does: reads orders, draws them in batches, writes what came of them."""
