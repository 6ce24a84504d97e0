"""Tells what a data set holds: samples, captions, classes, licence."""

import json
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import tyro
from pydantic import BaseModel, Field

from calligram.cli.fields import AsJson
from calligram.cli.flags import parse
from calligram.cli.table import megabytes, print_table
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.progress import track

MOST_READ = 5000  # samples of a split whose captions are looked at


class Flags(BaseModel):
    """Tells what a data set holds: samples, captions, classes, licence.

    Captions are counted on 5,000 samples of a split at most, evenly spread.
    """

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = Field(
        description="folder of a data set"
    )
    as_json: AsJson = False


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram data info")
    manifest = Manifest.load(flags.data)
    facts: dict[str, Any] = {
        "name": manifest.name,
        "licence": manifest.licence,
        "classes": len(manifest.class_names),
        "splits": {split: split_facts(flags.data, manifest, split) for split in manifest.splits},
    }
    if flags.as_json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
    else:
        print_facts(facts)


def split_facts(folder: Path, manifest: Manifest, split: str) -> dict[str, Any]:
    shards = manifest.shards(split)
    counts = {
        "samples": manifest.num_samples(split),
        "shards": len(shards),
        "bytes": sum(shard.num_bytes for shard in shards),
    }
    return counts | (caption_facts(Shards(folder, split)) if counts["samples"] else {})


def caption_facts(shards: Shards) -> dict[str, Any]:
    stride = -(-len(shards) // MOST_READ)
    numbers = range(0, len(shards), stride)
    found = [shards.read_captions(i) for i in track(numbers, "read captions")]
    words = [len(caption.split()) for captions in found for caption in captions]
    return {
        "captions_per_sample": sum(map(len, found)) / len(found),
        "caption_words": {"min": min(words), "median": median(words), "max": max(words)},
    }


def print_facts(facts: dict[str, Any]) -> None:
    print(f"{facts['name']}: {facts['classes'] or 'no'} classes, licence: {facts['licence']}\n")
    rows = [split_row(split, found) for split, found in facts["splits"].items()]
    headers = ["split", "samples", "shards", "size", "captions a sample", "words: min, median, max"]
    print_table(headers, rows, right=range(1, 6))


def split_row(split: str, found: dict[str, Any]) -> list[str]:
    row = [split, str(found["samples"]), str(found["shards"]), megabytes(found["bytes"])]
    if "caption_words" not in found:
        return [*row, "-", "-"]
    words = found["caption_words"]
    return [*row, f"{found['captions_per_sample']:.1f}", f"{words['min']}, {words['median']:g}, {words['max']}"]
