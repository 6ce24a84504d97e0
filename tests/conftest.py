"""Settings that every test runs under; they must be made before torch is imported."""

import os

# Nothing is fetched at run time, so a hub is never asked; without this a lookup waits for a network first.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.pop("CALLIGRAM_DEBUG", None)

# pytest -n 2: workers that each start a thread a core are slower than one thread each
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MKL_NUM_THREADS"] = "1"
