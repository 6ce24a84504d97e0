"""Tells what a data set holds: samples, pictures, captions, classes, licence."""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, Field

from calligram.cli.fields import AsJson
from calligram.cli.flags import parse
from calligram.cli.table import megabytes, print_table
from calligram.data.bad import BadSample
from calligram.data.dataset import Shards
from calligram.data.decode import picture_size
from calligram.data.manifest import Manifest
from calligram.data.place import Place
from calligram.data.resolve import resolve
from calligram.progress import track

MOST_READ = 5000  # samples of a split that are looked at


class Flags(BaseModel):
    """Tells what a data set holds: samples, pictures, captions, classes, licence.

    Pictures and captions are looked at in 5,000 samples of a split at most, evenly spread. `calligram data show` draws
    some.
    """

    data: Annotated[Place, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Field(
        description="folder of a data set, its URL, or its name: torchvision:NAME, hf:OWNER/NAME"
    )
    as_json: AsJson = False


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram data info")
    data = resolve(flags.data)
    manifest = Manifest.load(data)
    facts: dict[str, Any] = {
        "name": manifest.name,
        "licence": manifest.licence,
        "classes": len(manifest.class_names),
        "splits": {split: split_facts(data, manifest, split) for split in manifest.splits},
    }
    if flags.as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        print_facts(facts)


def split_facts(folder: Path | str, manifest: Manifest, split: str) -> dict[str, Any]:
    shards = manifest.shards(split)
    counts = {
        "samples": manifest.num_samples(split),
        "shards": len(shards),
        "bytes": sum(shard.num_bytes for shard in shards),
    }
    return counts | (sample_facts(Shards(folder, split)) if counts["samples"] else {})


def sample_facts(shards: Shards) -> dict[str, Any]:
    stride = -(-len(shards) // MOST_READ)
    captions, words, sides, ratios, bad = [], [], [], [], 0
    for i in track(range(0, len(shards), stride), "read samples"):
        try:
            record = shards[i]
            width, height = record.decode(picture_size)
        except BadSample:
            bad += 1
            continue
        captions.append(len(record.captions))
        words += [len(caption.split()) for caption in record.captions]
        sides.append(min(width, height))
        ratios.append(width / height)
    if not captions:
        return {"bad": bad}
    return {
        "captions_per_sample": sum(captions) / len(captions),
        "caption_words": spread(words),
        "shorter_side": spread(sides),
        "aspect_ratio": spread(ratios),
        "bad": bad,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": median(values), "max": max(values)}


def print_facts(facts: dict[str, Any]) -> None:
    print(f"{facts['name']}: {facts['classes'] or 'no'} classes, licence: {facts['licence']}\n")
    splits = facts["splits"].items()
    rows = [[split, str(found["samples"]), str(found["shards"]), megabytes(found["bytes"])] for split, found in splits]
    print_table(["split", "samples", "shards", "size"], rows, right=range(1, 4))
    rows = [sample_row(split, found) for split, found in splits if "caption_words" in found]
    if rows:
        print("\nof each: smallest, median, largest")
        headers = ["split", "captions a sample", "words", "shorter side, px", "width / height"]
        print_table(headers, rows, right=range(1, 5))
    for split, found in splits:
        if found.get("bad"):
            print(f"{split}: {found['bad']} of the samples looked at are bad; `calligram data verify` names them")


def sample_row(split: str, found: dict[str, Any]) -> list[str]:
    spreads = [found[name] for name in ("caption_words", "shorter_side", "aspect_ratio")]
    words = [", ".join(f"{spread[name]:.4g}" for name in ("min", "median", "max")) for spread in spreads]
    return [split, f"{found['captions_per_sample']:.1f}", *words]
