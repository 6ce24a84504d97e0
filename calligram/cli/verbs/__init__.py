"""One file a verb, one folder a group of verbs; ``calligram.cli.main`` finds them by their names.

A verb's file has a docstring, whose first line stands in ``calligram --help``, and a function
``main(args: list[str]) -> int | None``: the words after the verb in, the exit status out (None is 0).
Only the verb that was asked for is imported.
"""
