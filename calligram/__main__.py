"""``python -m calligram``, which torchrun can start as well."""

import sys

from calligram.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
