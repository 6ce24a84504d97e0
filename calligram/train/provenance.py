"""By what a run was made: command, code, libraries and machine, one row for each time that it was started."""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from calligram import runs
from calligram.train import distributed

PACKAGES = ("calligram", "torchvision", "numpy", "safetensors", "tokenizers", "timm", "xformers", "simplejpeg")


def record(run: Path, device: torch.device) -> None:
    """Add a row to ``starts.jsonl``."""
    row = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "from_step": runs.step_of(found[-1]) if (found := runs.checkpoints(run)) else 0,
        "git": git_commit(Path(__file__).parent),
        "versions": {"python": platform.python_version(), **_versions(), "torch": torch.__version__},
        "processes": distributed.world_size(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
    }
    with (run / runs.STARTS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def git_commit(folder: Path) -> str | None:
    """The commit of a checkout, with "-dirty" where files differ from it; None where it is none."""
    # of the checkout that the folder lies in, whatever a hook that runs this has set
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found
