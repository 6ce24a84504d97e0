"""Write a source as WebDataset shards: pictures, captions and meta-data in plain tars, with a manifest."""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image
from webdataset.writer import TarWriter

from calligram.data.catalogue import describe
from calligram.data.manifest import Manifest, Shard
from calligram.data.sample import Sample
from calligram.data.source import Source
from calligram.errors import UserError
from calligram.progress import track


def write_shards(source: Source, out: Path, samples_per_shard: int = 1000, processes: int = 1) -> Manifest:
    """Write every split of a source under ``out`` and return the manifest.

    The folder appears under its name only when it is whole; a data set that was made so is replaced, anything else
    that stands there is left alone and refused, shards from elsewhere above all.
    """
    if out.exists() and not _may_replace(out):
        raise UserError(f"{out} exists and is not a data set that `data make` wrote: choose another --out, or empty it")
    out = out.resolve()  # "." has no name that another could be made of
    out.parent.mkdir(parents=True, exist_ok=True)
    partial_folder = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial_folder, ignore_errors=True)
    try:
        manifest = _write_all(source, partial_folder, samples_per_shard, processes)
    except BaseException:
        shutil.rmtree(partial_folder, ignore_errors=True)
        raise
    _put_in_place(partial_folder, out)
    return manifest


def _write_all(source: Source, folder: Path, samples_per_shard: int, processes: int) -> Manifest:
    jobs = list(_jobs(source, samples_per_shard))
    for split in source.splits():
        (folder / split).mkdir(parents=True)
    write_one = partial(_write_shard, source, folder)
    splits: dict[str, list[Shard]] = {split: [] for split in source.splits()}
    with ProcessPoolExecutor(processes) as pool:
        results = pool.map(write_one, jobs) if processes > 1 else map(write_one, jobs)
        for job, shard in zip(jobs, track(results, f"write {source.name} shards", total=len(jobs)), strict=True):
            splits[job[0]].append(shard)
    manifest = Manifest(
        name=source.name,
        licence=source.licence,
        source=source.model_dump(mode="json"),
        class_names=source.class_names(),
        templates=source.templates(),
        splits=splits,
    )
    manifest.save(folder)
    return manifest


def members(sample: Sample) -> dict[str, bytes | str]:
    """A sample as WebDataset's writer takes it: one entry a file."""
    if not re.fullmatch(r"[\w-]+", sample.key):
        raise UserError(f"sample key {sample.key!r}: give letters, digits, - and _ only, since a dot would end it")
    if not sample.captions or not all(caption.strip() for caption in sample.captions):
        raise UserError(f"sample {sample.key} has an empty caption")
    if isinstance(sample.image, Image.Image):
        buffer = io.BytesIO()
        sample.image.save(buffer, "PNG", compress_level=6)
        image = buffer.getvalue()
    else:
        image = sample.image
    texts = {"captions": sample.captions, **({"negatives": sample.negatives} if sample.negatives else {})}
    meta = json.dumps({**texts, **sample.meta}, ensure_ascii=False)
    written = {
        "__key__": sample.key,
        sample.extension: image,
        "txt": sample.captions[0].encode(),
        "json": meta.encode(),
    }
    # also where webdataset's users look for it, CLIP_benchmark among them
    return written | ({"cls": str(sample.meta["class"]).encode()} if "class" in sample.meta else {})


Job = tuple[str, int, int, int]  # split, number of the shard, first sample, end


def _jobs(source: Source, samples_per_shard: int) -> Iterator[Job]:
    for split, count in source.splits().items():
        for number, start in enumerate(range(0, count, samples_per_shard)):
            yield split, number, start, min(count, start + samples_per_shard)


def _write_shard(source: Source, folder: Path, job: Job) -> Shard:
    split, number, start, end = job
    path = folder / split / f"{number:06d}.tar"
    # fixed times and owners: the same source gives the same bytes, and so the same checksum
    with TarWriter(str(path), mtime=0, user="calligram", group="calligram", encoder=False) as writer:
        for i in range(start, end):
            writer.write(members(source.sample(split, i)))
    return describe(path, f"{split}/{path.name}")


def _may_replace(out: Path) -> bool:
    if not out.is_dir() or not any(out.iterdir()):
        return out.is_dir()
    try:
        # the name alone proves nothing: web pages have a manifest.json, too, and so have somebody else's indexed tars
        return bool(Manifest.load(out).source)
    except UserError:
        return False


def _put_in_place(whole: Path, out: Path) -> None:
    """Rename a finished folder; what stood there goes only when the new one stands."""
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.rename(out, old)
    os.rename(whole, out)
    shutil.rmtree(old, ignore_errors=True)
