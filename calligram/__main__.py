"""``python -m calligram``, which torchrun can start as well."""

from calligram.cli.main import entry

if __name__ == "__main__":
    entry()
