"""Tells which of some labels fit a picture best, with a CLIP."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import BaseModel, Field

from calligram.cli.console import STATUS_FAILED, say
from calligram.cli.fields import AsJson, Device, OptionalRun
from calligram.cli.find import find_device, find_run
from calligram.cli.flags import Names, parse
from calligram.cli.pictures import find_pictures, read_pictures
from calligram.cli.table import bar, print_table, shorten
from calligram.errors import UserError
from calligram.progress import track

if TYPE_CHECKING:
    from calligram.clip.zero_shot import ClipPipeline

PICTURES_AT_ONCE = 256
PATH_WIDTH, BAR_WIDTH = 28, 20  # columns of the table


class Flags(BaseModel):
    """Tells which labels fit each picture best; a label may be a whole sentence.

    Exit status 1 where some pictures could not be read, 2 where none could.
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...", help_behavior_hint="")]
    """picture files, folders of them, or patterns in quotes such as 'photos/*.jpg'"""
    labels: Annotated[Names, tyro.conf.arg(help_behavior_hint="")] = Field((), description="what to choose from")
    labels_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = Field(
        None, description="or a text file with a label a line"
    )
    model: OptionalRun = Field(None, description="CLIP run")
    template: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = Field(
        (), description="sentence with {} for the label; of several, the mean is taken"
    )
    top_k: int = Field(5, ge=1, description="labels shown for each picture")
    device: Device = "auto"
    as_json: AsJson = False


@dataclass(frozen=True)
class Result:
    """The best labels of a picture with their probabilities, or what is wrong with it."""

    path: Path
    best: tuple[tuple[str, float], ...] = ()
    problem: str | None = None


def main(args: list[str]) -> int:
    flags = parse(Flags, args, prog="calligram classify")
    if not flags.images:
        raise UserError("missing: IMAGE...; name at least one picture or folder")
    labels = read_labels(flags)
    paths = find_pictures(flags.images)
    from calligram.clip.zero_shot import load_clip

    clip = load_clip(find_run(flags.model, "clip"), find_device(flags.device))
    results = list(classify(clip, paths, labels, flags.template or ("{}",), flags.top_k))
    num_bad = report_unreadable(results)
    print_json(results) if flags.as_json else print_results(results)
    return STATUS_FAILED if num_bad else 0


def read_labels(flags: Flags) -> list[str]:
    """Each label once."""
    if flags.labels and flags.labels_file is not None:
        raise UserError("both --labels and --labels-file: give one of them")
    if flags.labels_file is None:
        labels = list(flags.labels)
    else:
        try:
            lines = flags.labels_file.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise UserError(f"cannot read --labels-file {flags.labels_file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"--labels-file {flags.labels_file} is not a UTF-8 text: write a label a line") from None
        labels = [line.strip() for line in lines if line.strip()]
    if not labels:
        raise UserError('the list of labels is empty: give --labels "a cat,a dog", or --labels-file')
    return list(dict.fromkeys(labels))


def classify(
    clip: "ClipPipeline", paths: Sequence[Path], labels: list[str], templates: Sequence[str], top_k: int
) -> Iterator[Result]:
    import torch

    # made small at once: a folder of photographs would not fit into memory
    prepared = (
        (path, picture if isinstance(picture, str) else clip.prepare(picture))
        for path, picture in track(read_pictures(paths), "classify", total=len(paths))
    )
    while chunk := list(islice(prepared, PICTURES_AT_ONCE)):
        tensors = [picture for _, picture in chunk if not isinstance(picture, str)]
        rows = iter(clip.classify(torch.stack(tensors), labels, templates) if tensors else ())
        for path, picture in chunk:
            if isinstance(picture, str):
                yield Result(path, problem=picture)
            else:
                top = next(rows).topk(min(top_k, len(labels)))
                best = zip(top.indices.tolist(), top.values.tolist(), strict=True)
                yield Result(path, tuple((labels[index], probability) for index, probability in best))


def report_unreadable(results: Sequence[Result]) -> int:
    """Number of pictures that could not be read; UserError where there is no other."""
    bad = [result for result in results if result.problem is not None]
    if len(bad) == len(results):
        others = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise UserError(f"cannot read {bad[0].path}{others}: {bad[0].problem}")
    for result in bad:
        say(f"calligram: {result.path}: {result.problem}")
    if bad:
        say(f"calligram: {len(bad)} of {len(results)} pictures could not be read")
    return len(bad)


def print_results(results: Sequence[Result]) -> None:
    rows = [
        (
            "" if rank else shorten(str(result.path), PATH_WIDTH),
            label,
            f"{probability:.3f}",
            bar(probability, BAR_WIDTH),
        )
        for result in results
        for rank, (label, probability) in enumerate(result.best)
    ]
    print_table(["picture", "label", "probability", ""], rows, right=[2], squeeze=1)


def print_json(results: Sequence[Result]) -> None:
    """A line a picture."""
    for result in results:
        row: dict[str, object] = {"picture": str(result.path)}
        if result.problem is not None:
            row["error"] = result.problem
        else:
            row["labels"] = [{"label": label, "probability": probability} for label, probability in result.best]
        print(json.dumps(row, ensure_ascii=False))
