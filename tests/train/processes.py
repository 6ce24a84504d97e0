"""Commands as one process or as several under torchrun, with what they need to find this checkout."""

import os
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def command(arguments: list[str], processes: int = 1) -> list[str]:
    """``python ARGUMENTS``, or ``torchrun ARGUMENTS`` at a port that nobody has."""
    if processes == 1:
        return [sys.executable, *arguments]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={port}"]
    return [sys.executable, *launcher, *arguments]
