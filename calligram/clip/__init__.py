"""CLIP: a picture tower and a text tower, trained so that what belongs together lies together."""
