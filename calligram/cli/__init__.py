"""The command line: ``calligram VERB ...``."""
