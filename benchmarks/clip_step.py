"""A training step of CLIP against open_clip's model and loss: python benchmarks/clip_step.py [--quick]

Equal weights, equal pictures, equal captions: sentences of English prose of 5 to 25 tokens, from the descriptions of
data sets that scikit-learn brings along. Forward, loss, backward, fused AdamW on both sides, in turn in one process;
the first losses are compared, too. Ours is the task of `calligram train`, with one right text a picture, as theirs.

MiB: the most that a fresh process held during two steps, less what it held before the model was built.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import open_clip
import sklearn
import torch
from harness import Row, paired_seconds, row_of_pairs, run
from open_clip.loss import ClipLoss
from torch import nn

from calligram.clip.load import load_model
from calligram.clip.losses.config import SoftmaxConfig
from calligram.clip.task import ClipTask

PEER = "open_clip"
SMALL = {
    "embed_dim": 192,
    "vision_cfg": {"image_size": 96, "layers": 12, "width": 192, "patch_size": 16, "head_width": 64},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 192, "heads": 3, "layers": 12},
}


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    batch: int


CASES = (Case("ViT-B/32, 224 px, batch 32", "ViT-B-32", 32), Case("ViT-Ti/16, 96 px, batch 64", "small", 64))
Step = Callable[[], float]


def captions() -> list[str]:
    """Sentences of a caption's length."""
    files = sorted((Path(sklearn.__file__).parent / "datasets" / "descr").glob("*.rst"))
    text = " ".join(path.read_text(encoding="utf-8") for path in files)
    sentences = (" ".join(sentence.split()) for sentence in re.split(r"(?<=[.?!])\s", text))
    prose = [sentence for sentence in sentences if re.fullmatch(r"[A-Z][A-Za-z0-9 ,'()-]+[.?!]", sentence)]
    return [sentence for sentence in dict.fromkeys(prose) if 4 <= len(sentence.split()) <= 18]


def batch_of(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures as floats, since open_clip reads no others, and the ids of captions."""
    found = captions()
    assert len(found) >= 48, len(found)
    size = open_clip.get_model_config(case.model)["vision_cfg"]["image_size"]
    images = torch.randint(0, 256, (case.batch, 3, size, size), generator=torch.Generator().manual_seed(0))
    chosen = [found[i * len(found) // case.batch] for i in range(case.batch)]
    return images.float() / 255, open_clip.get_tokenizer(case.model)(chosen)


def theirs(case: Case, weights: Path | None) -> nn.Module:
    torch.manual_seed(0)
    model = open_clip.create_model(case.model, pretrained=None)
    if weights is not None:
        torch.save(model.state_dict(), weights)
    return model.train()


def their_step(model: nn.Module, case: Case) -> Step:
    images, ids = batch_of(case)
    mean, std = (
        torch.tensor(x).view(1, 3, 1, 1) for x in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    images, loss, optimizer = (images - mean) / std, ClipLoss(), adamw(model)

    def step() -> float:
        optimizer.zero_grad()
        value = loss(*model(images, ids)[:3])
        value.backward()
        optimizer.step()
        return float(value.detach())

    return step


def our_step(case: Case, weights: Path) -> Step:
    model, _ = load_model(f"{case.model}:{weights}", activation="gelu")
    task, (images, ids) = ClipTask(model, SoftmaxConfig(positives="own")).train(), batch_of(case)
    optimizer = adamw(model)

    def step() -> float:
        optimizer.zero_grad()
        value, _ = task({"image": images, "text": ids})
        value.backward()
        optimizer.step()
        return float(value.detach())

    return step


def adamw(model: nn.Module) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=1e-6, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, fused=True)


def memory_mib(case: Case, side: str, weights: Path) -> float:
    command = [sys.executable, __file__, "--child", side, "--case", case.name, "--weights", str(weights)]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def child(case: Case, side: str, weights: Path) -> None:
    """In a process of its own: print the memory that two steps of one side take."""
    register()
    before = status("VmRSS")
    step = our_step(case, weights) if side == "ours" else their_step(theirs(case, None), case)
    Path("/proc/self/clear_refs").write_text("5")  # what building took is not asked
    step()
    step()
    print(status("VmHWM") - before)


def status(name: str) -> float:
    (found,) = re.findall(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found) / 1024


def register() -> None:
    """Make the small model known to open_clip by its name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.json"
        path.write_text(json.dumps(SMALL))
        open_clip.add_model_config(path)


def measure(quick: bool) -> Iterator[Row]:
    register()
    for case in CASES[1:] if quick else CASES:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.pt"
            peer = their_step(theirs(case, weights), case)
            ours = our_step(case, weights)
            losses = ours(), peer()
            lengths = (batch_of(case)[1] != 0).sum(1).float()
            print(
                f"{case.name}: captions of {lengths.mean():.1f} tokens; losses {losses[0]:.6f} and {losses[1]:.6f}",
                file=sys.stderr,
            )
            assert abs(losses[0] - losses[1]) < 1e-4
            pairs = paired_seconds(ours, peer, repeats=3 if quick else 7)
            yield row_of_pairs(case.name, "fp32, seconds", pairs, PEER, higher_is_better=False)
            found = [memory_mib(case, side, weights) for side in ("ours", "theirs")]
            yield row_of_pairs(case.name, "MiB", [(found[0], found[1])], PEER, higher_is_better=False)


if __name__ == "__main__":
    if "--child" in sys.argv:
        parser = argparse.ArgumentParser()
        for flag in ("--child", "--case", "--weights"):
            parser.add_argument(flag, required=True)
        flags = parser.parse_args()
        (asked,) = (case for case in CASES if case.name == flags.case)
        child(asked, flags.child, Path(flags.weights))
    else:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        run("clip_step", measure, ["torch", "open_clip_torch", "calligram"])
