"""Writes the vectors of pictures or texts, for `calligram search` and others to read."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import BaseModel, Field

from calligram.cli.console import STATUS_FAILED
from calligram.cli.decoding import chunks, decode_ahead, decoder_for
from calligram.cli.fields import Device, Native, OptionalRun, Switch
from calligram.cli.find import find_device, find_run
from calligram.cli.flags import parse
from calligram.cli.index import AnyWriter, check_index, open_writer
from calligram.cli.pictures import find_items
from calligram.cli.results import TOLD, nothing_readable, tell_unreadable
from calligram.cli.vectors import Dtype, IndexFile, Kind
from calligram.data.manifest import FILE_NAME
from calligram.errors import UserError
from calligram.progress import track

if TYPE_CHECKING:
    from calligram.clip.zero_shot import ClipPipeline

PICTURES_AT_ONCE = 64
TEXTS_AT_ONCE = 2**14  # so many are sorted by length and read together


class Flags(BaseModel):
    """Writes vectors of pictures, of the lines of a .txt file, or of captions, with what each is of.

    Into a folder, vectors.npy, items.jsonl and index.json; or into one Parquet file, where --out ends in .parquet.

    Exit status 1 where some pictures could not be read, 2 where none could.
    """

    inputs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT...", help_behavior_hint="")]
    """pictures as `calligram classify` takes them, or .txt files with a text a line"""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR|FILE.parquet")] = Field(description="folder or file to write")
    captions: Switch = Field(False, description="of shards, the captions instead of the pictures")
    split: str = Field("test", description="split, of a folder of shards")
    model: OptionalRun = Field(None, description="CLIP run")
    native: Native = None
    dtype: Dtype = Field("float32", description="of the vectors; float16 takes half the room")
    device: Device = "auto"


def main(args: list[str]) -> int:
    flags = parse(Flags, args, prog="calligram embed")
    if not flags.inputs:
        raise UserError("missing: INPUT...; name pictures, a folder, shards, or a .txt file")
    check_index(flags.out)
    texts = find_texts(flags)
    items = find_items(flags.inputs, flags.split) if texts is None else None
    run = find_run(flags.model, "clip")
    from calligram.clip.fingerprint import model_fingerprint
    from calligram.clip.zero_shot import load_clip

    clip = load_clip(run, find_device(flags.device), native=flags.native)
    kind: Kind = "pictures" if items is not None else "texts"
    writer = open_writer(flags.out, clip.model.config.embed_dim, flags.dtype, kind)
    try:
        bad = embed_texts(clip, texts, writer) if texts is not None else embed_pictures(clip, items, writer)
        if not writer.count:
            raise UserError(nothing_readable(bad, len(bad)) if items is not None else f"{flags.inputs[0]} has no texts")
        index = IndexFile(
            model=str(run.resolve() if run.exists() else run),  # a model may have a name instead of a folder
            model_hash=model_fingerprint(clip.model, clip.tokenizer),
            kind=kind,
            dims=writer.dims,
            dtype=flags.dtype,
            count=writer.count,
            unreadable=len(bad),
            folder=str(Path.cwd()),
            native=flags.native,
        )
        writer.close(index)
    except BaseException:
        writer.abandon()
        raise
    tell_unreadable(bad[:TOLD], len(bad), writer.count)
    print(flags.out)
    return STATUS_FAILED if bad else 0


def find_texts(flags: Flags) -> Iterable[dict[str, Any]] | None:
    """Facts with a "text" each; None where the inputs are pictures."""
    are_texts = [Path(word).suffix.lower() == ".txt" for word in flags.inputs]
    if any(are_texts) and not all(are_texts):
        raise UserError(f"both texts and pictures ({', '.join(flags.inputs[:3])}): embed them into two folders")
    if any(are_texts):
        from calligram.clip.prompts import read_text

        read = [(word, read_text(Path(word), "give a file with a text a line")) for word in flags.inputs]
        return (
            _line(word, i, line) for word, text in read for i, line in enumerate(text.splitlines(), 1) if line.strip()
        )
    if not flags.captions:
        return None
    for word in flags.inputs:
        if not (Path(word) / FILE_NAME).is_file():
            raise UserError(f"--captions: {word} is no folder of shards with a {FILE_NAME}")
    return (facts for word in flags.inputs for facts in caption_facts(word, flags.split))


def caption_facts(folder: str, split: str) -> Iterator[dict[str, Any]]:
    from calligram.data.dataset import Shards

    shards = Shards(Path(folder), split)
    for i in range(len(shards)):
        for caption in shards.read_captions(i):
            yield {"text": caption, "shards": folder, "split": split, "sample": i}


def embed_texts(clip: "ClipPipeline", texts: Iterable[dict[str, Any]], writer: AnyWriter) -> list[tuple[str, str]]:
    """Texts longer than the model reads are cut, as training cuts them."""
    from calligram.clip.classifier import embed_by_length

    for chunk in chunks(texts, TEXTS_AT_ONCE):
        rows = embed_by_length(clip.model, clip.tokenizer, [facts["text"] for facts in chunk], strict=False)
        writer.add(rows.cpu().numpy(), chunk)
    return []


def embed_pictures(clip: "ClipPipeline", items: Any, writer: AnyWriter) -> list[tuple[str, str]]:
    """Names and problems of those that could not be read."""
    bad: list[tuple[str, str]] = []
    decoded = decode_ahead(items, decoder_for(clip), 2 * PICTURES_AT_ONCE)
    for chunk in chunks(track(decoded, "embed", total=items.total), PICTURES_AT_ONCE):
        bad += [(each.item.name, each.problem or "") for each in chunk if each.pixels is None]
        good = [each for each in chunk if each.pixels is not None]
        if good:
            rows = clip.embed_prepared([each.pixels for each in good if each.pixels is not None])
            writer.add(rows.cpu().numpy(), [each.item.facts for each in good])
    return bad


def _line(file: str, number: int, text: str) -> dict[str, Any]:
    return {"text": text.strip(), "file": file, "line": number}
