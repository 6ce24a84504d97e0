"""Finds the pictures or texts of an index that are nearest to some words or to a picture."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import BaseModel, Field

from calligram.cli.fields import AsJson, Device
from calligram.cli.find import check_output, find_device
from calligram.cli.flags import parse
from calligram.cli.index import AnyVectors, open_vectors
from calligram.cli.nearest import Method, nearest
from calligram.cli.table import print_table, shorten
from calligram.cli.vectors import REMEDY
from calligram.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from calligram.clip.zero_shot import ClipPipeline

NAME_WIDTH = 60  # columns
PATHS = ("picture", "shards", "tar")  # of the facts


class Flags(BaseModel):
    """Finds what is nearest to some words, or to a picture, with the model that the index was made with."""

    words: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="WORDS", help_behavior_hint="")] = Field(
        None, description="what to look for, in quotes"
    )
    image: Annotated[str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = Field(
        None, description="or a picture, file or URL"
    )
    index: Annotated[Path, tyro.conf.arg(metavar="DIR|FILE.parquet")] = Field(
        description="folder or file that `calligram embed` wrote"
    )
    model: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="(default: the index says)")] = Field(
        None, description="where the model lies now, if it was moved"
    )
    top_k: int = Field(10, ge=1, description="how many are shown")
    method: Method = Field("auto", description="exact looks at all; auto takes usearch where there are very many")
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = Field(
        None, description="write a page with the pictures"
    )
    device: Device = "auto"
    as_json: AsJson = False


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram search")
    if (flags.words is None) == (flags.image is None):
        raise UserError('give either WORDS in quotes, such as "a red circle", or --image FILE')
    if flags.words is not None and not flags.words.strip():
        raise UserError("WORDS are empty: say what to look for")
    if flags.html is not None:
        check_output(flags.html, "--html", (".html", ".htm"))
    vectors = open_vectors(flags.index)
    clip = load_model(vectors, flags)
    hits = nearest(vectors, query_vector(clip, flags), flags.top_k, flags.method)
    facts = vectors.facts([row for row, _ in hits])
    found = [{"rank": i, "score": hits[i - 1][1], **each} for i, each in enumerate(facts, 1)]
    if flags.html is not None:
        write_page(flags.html, found, vectors.index.folder, flags)
    if flags.as_json:
        for each in found:
            print(json.dumps(each, ensure_ascii=False))
    elif flags.html is not None:
        print(flags.html)
    else:
        rows = [(str(each["rank"]), f"{each['score']:.3f}", shorten(name_of(each), NAME_WIDTH)) for each in found]
        print_table(["", "score", vectors.index.kind], rows, right=[0, 1], squeeze=2)


def load_model(vectors: AnyVectors, flags: Flags) -> "ClipPipeline":
    """The one of the index: vectors of another model would mean nothing beside its vectors."""
    from calligram.clip.fingerprint import model_fingerprint
    from calligram.clip.zero_shot import load_clip

    run = flags.model or Path(vectors.index.model)
    if not run.exists() and run.is_absolute():  # others are names, which the loader knows
        raise UserError(f"the model of {flags.index}, {run}, is not there: say where it lies now as --model")
    clip = load_clip(run, find_device(flags.device), native=vectors.index.native)
    if model_fingerprint(clip.model, clip.tokenizer) != vectors.index.model_hash:
        raise UserError(f"{run} is not the model that {flags.index} was made with, or it was trained on: {REMEDY}")
    return clip


def query_vector(clip: "ClipPipeline", flags: Flags) -> "np.ndarray":
    """(E,), of length 1."""
    if flags.words is not None:
        return clip.embed_texts([flags.words])[0].cpu().numpy()
    from calligram.cli.decoding import decode_ahead, decoder_for
    from calligram.cli.pictures import reopen

    (decoded,) = decode_ahead([reopen({"picture": str(flags.image)})], decoder_for(clip), 1)
    if decoded.pixels is None:
        raise UserError(f"cannot read --image {flags.image}: {decoded.problem}")
    return clip.embed_prepared([decoded.pixels])[0].cpu().numpy()


def write_page(path: Path, found: list[dict[str, Any]], base: str, flags: Flags) -> None:
    from calligram.cli.page import Page

    page = Page()
    title = f"“{flags.words}”" if flags.words is not None else f"Like {flags.image}"
    facts = [("index", str(flags.index))]
    hits = [page.hit(each["rank"], name_of(each), each["score"], thumbnail(located(each, base))) for each in found]
    try:
        path.write_text(page.head(title, facts) + "".join(hits) + page.tail(len(hits), 0), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--html {path} cannot be written ({error.strerror}): choose another place") from None


def located(facts: dict[str, Any], base: str) -> dict[str, Any]:
    """The facts with paths that are found from here: they are relative to the folder ``base``, if that is there."""
    from calligram.data.place import is_url

    def find(name: str) -> str:
        path = os.path.join(base, name)
        return path if not is_url(name) and os.path.exists(path) else name

    return {name: find(value) if name in PATHS else value for name, value in facts.items()}


def thumbnail(facts: dict[str, Any]) -> bytes | None:
    """None for a text, and for a picture that has gone since."""
    from calligram.cli.decoding import thumbnail_of
    from calligram.cli.pictures import reopen
    from calligram.data.bad import BadSample
    from calligram.data.decode import BadImage

    if "picture" not in facts:
        return None
    try:
        return thumbnail_of(reopen(facts).read())
    except (BadImage, BadSample, UserError, OSError):
        return None


def name_of(facts: dict[str, Any]) -> str:
    return str(facts.get("picture") or facts.get("text"))
