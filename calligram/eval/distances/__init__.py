"""Distances between sets of pictures, given their features in a space: ours, checked against torchmetrics'."""
