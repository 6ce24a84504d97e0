"""Makes, checks and describes data sets of captioned pictures."""
