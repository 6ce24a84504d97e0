"""The synthetic data set ``shapes``: scenes, drawings, captions, and an oracle that reads drawings."""
