"""Train image tokenizers of several kinds for the same time, and compare what their tokens keep: a table and a picture.

    python scripts/compare_tokenizers.py --minutes 5

How many steps fit into the time is measured first, since a kind that is slower must take fewer. All else is what the
presets say. With --resume what is trained already is not trained again.
"""

import argparse
import json
import shutil
import time
from pathlib import Path

import torch
from PIL import Image

from calligram import runs
from calligram.data.dataset import Shards
from calligram.eval.runner import evaluate, load_models
from calligram.eval.sheet import contact_sheet
from calligram.eval.task import EvalConfig
from calligram.nn.image import to_uint8
from calligram.pictures import to_image
from calligram.presets import preset
from calligram.presets.build import start
from calligram.presets.config import TokenizerRun
from calligram.tokenizers.dvae import DVAEConfig

PRESETS = {
    "emoji": {"dvae": "dvae-emoji", "vq": "vq-emoji", "fsq": "fsq-emoji-1024", "lfq": "lfq-emoji"},
    "fashion-mnist": {kind: f"{kind}-fashion-mnist" for kind in ("dvae", "vq", "fsq", "lfq")},
}
TRIAL = 12  # steps, of which the second half is timed
SHOWN = 10  # pictures of each data set
COLUMNS = ("psnr_db", "ssim", "usage", "perplexity")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5, help="of training for each tokenizer")
    parser.add_argument("--kinds", nargs="+", default=["dvae", "vq", "fsq"], choices=["dvae", "vq", "fsq", "lfq"])
    parser.add_argument("--data", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--shards", type=Path, default=Path("shards"), help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("runs/tokenizers"))
    parser.add_argument("--picture", type=Path, default=Path("docs/tokenizers.png"))
    parser.add_argument("--max-samples", type=int, default=10_000, help="pictures to evaluate on")
    parser.add_argument("--resume", action="store_true")
    flags = parser.parse_args()
    rows = []
    for data in flags.data:
        for kind in flags.kinds:
            run = flags.out / f"{kind}-{data}"
            seconds = trained(PRESETS[data][kind], flags.shards / data, run, flags.minutes * 60, flags.resume)
            found = evaluate(
                load_models([run]), flags.shards / data, EvalConfig(max_samples=flags.max_samples), ("reconstruction",)
            )
            rows.append({"data": data, "kind": kind, **described(run), "seconds": seconds, **found})
            print(json.dumps(rows[-1]), flush=True)
    (flags.out / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    flags.picture.parent.mkdir(parents=True, exist_ok=True)
    sheet(flags.data, flags.kinds, flags.shards, flags.out).save(flags.picture)
    print(table(rows))


def trained(name: str, shards: Path, run: Path, seconds: float, resume: bool) -> float:
    """Train a preset for so long, and how long it took: the loop's own clock, without its start."""
    found = preset(name)
    assert isinstance(found, TokenizerRun)
    config = found.model_copy(update={"data": found.data.model_copy(update={"shards": shards})})
    if not (resume and runs.checkpoints(run)):
        shutil.rmtree(run, ignore_errors=True)
        steps = max(2 * TRIAL, round(seconds / seconds_a_step(config, run.with_name(f".{run.name}.trial"))))
        start(with_steps(config, steps), run)
    rows, done, total = runs.read_metrics(run), 0, 0.0
    for row in rows:
        total += (row["step"] - done) * config.train.batch_size / row["samples_per_s"]
        done = row["step"]
    return total


def seconds_a_step(config: TokenizerRun, run: Path) -> float:
    shutil.rmtree(run, ignore_errors=True)
    train = config.train.model_copy(update={"steps": TRIAL, "log_every": TRIAL // 2, "save_every": TRIAL})
    began = time.monotonic()
    start(config.model_copy(update={"train": train}), run)
    row = runs.read_metrics(run)[-1]
    shutil.rmtree(run)
    print(f"{run.name}: {row['samples_per_s']:.0f} samples/s, found in {time.monotonic() - began:.0f} s", flush=True)
    return config.train.batch_size / row["samples_per_s"]


def with_steps(config: TokenizerRun, steps: int) -> TokenizerRun:
    """The same run with another number of steps, to which schedules within the model are fitted."""
    model = config.model
    if isinstance(model, DVAEConfig):
        share = steps / config.train.steps
        schedules = {name: max(1, round(getattr(model, name) * share)) for name in ("temperature_steps", "kl_steps")}
        model = model.model_copy(update=schedules)
    train = config.train.model_copy(update={"steps": steps, "save_every": steps})
    return config.model_copy(update={"model": model, "train": train})


def described(run: Path) -> dict[str, float]:
    model = load_models([run]).tokenizer
    assert model is not None
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    return {
        "ids": model.grid**2,
        "codes": model.vocab_size,
        "millions": millions,
        "steps": runs.read_config(run)["train"]["steps"],
    }


def table(rows: list[dict]) -> str:
    """In Markdown."""
    head = ["data", "tokenizer", "ids", "codes", "parameters", "time", "steps", "PSNR", "SSIM", "usage", "perplexity"]
    lines = [head, ["---"] * len(head)]
    for row in rows:
        psnr, ssim, usage, perplexity = (row[f"tokenizer.{name}"] for name in COLUMNS)
        size = [f"{row['ids']}", f"{row['codes']:,}", f"{row['millions']:.2f} M"]
        cost = [f"{row['seconds']:.0f} s", f"{row['steps']:,}"]
        kept = [f"{psnr:.2f} dB", f"{ssim:.3f}", f"{usage:.3f}", f"{perplexity:.0f}"]
        lines.append([row["data"], row["kind"], *size, *cost, *kept])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@torch.inference_mode()
def sheet(names: list[str], kinds: list[str], shards: Path, out: Path) -> Image.Image:
    """Rows of the same pictures: as they are, then by each tokenizer; the data sets below each other."""
    parts = []
    for data in names:
        split = Shards(shards / data, "test")
        pictures, captions = [], []
        for kind in ("original", *kinds):
            model = load_models([out / f"{kinds[0] if kind == 'original' else kind}-{data}"]).tokenizer
            assert model is not None
            chosen = [i * len(split) // SHOWN for i in range(SHOWN)]
            images = torch.stack([split[i].square(model.config.image_size) for i in chosen])
            shown = images if kind == "original" else to_uint8(model.decode(model.encode(images)))
            pictures += [to_image(pixels) for pixels in shown]
            captions += [kind, *[" "] * (SHOWN - 1)]
        parts.append(contact_sheet(pictures, captions, columns=SHOWN, scale=max(1, 84 // pictures[0].width)))
    whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
    y = 0
    for part in parts:
        whole.paste(part, (0, y))
        y += part.height
    return whole


if __name__ == "__main__":
    main()
