"""Tells which of some labels fit a picture best, with a CLIP."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import Field

from calligram.cli.calibrate import calibrated
from calligram.cli.console import STATUS_FAILED
from calligram.cli.decoding import Decoded, chunks, decode_ahead, decoder_for
from calligram.cli.fields import AsJson, Device, Native, OptionalRun
from calligram.cli.find import find_device, find_run
from calligram.cli.flags import parse
from calligram.cli.labels import IMAGENET, LabelFlags, read_background, read_labels, read_templates
from calligram.cli.pictures import STDIN, Items, data_set_of, find_items
from calligram.cli.processes import Processes, joined
from calligram.cli.result_files import check_result_file, columns_for, open_file
from calligram.cli.results import JsonLines, Outcome, Rejection, Result, Tables, Writer
from calligram.data import cache
from calligram.data.place import Place
from calligram.errors import UserError
from calligram.progress import track

if TYPE_CHECKING:
    from calligram.clip.label_tree import LabelTree
    from calligram.clip.scoring import Scorer, Scores
    from calligram.clip.zero_shot import ClipPipeline

PICTURES_AT_ONCE = 64
LABELS_CACHE = "labels"  # a folder of the cache


class Flags(LabelFlags):
    """Tells which labels fit each picture best; a label may be a whole sentence. torchrun shares the work.

    Exit status 1 where some pictures could not be read, 2 where none could.
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...", help_behavior_hint="")]
    """picture files, folders of them, patterns in quotes such as 'photos/*.jpg', URLs, a folder of shards or a .tar;
    - for a list of paths and URLs on stdin"""
    mode: Literal["one", "several"] = Field(
        "one", description="one label a picture, or several, each with a probability of its own"
    )
    background: Annotated[str | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = Field(
        None, description=f"words; a picture nearer to one of them than to any label is none of these; or {IMAGENET}"
    )
    calibrate: Annotated[Place | None, tyro.conf.arg(metavar="SHARDS", help_behavior_hint="")] = Field(
        None, description="labelled pictures, to which the probabilities are fitted"
    )
    calibrate_split: str = Field("test", description="split of --calibrate")
    split: str = Field("test", description="split to classify, of a folder of shards")
    model: OptionalRun = Field(None, description="CLIP run")
    native: Native = None
    top_k: int = Field(5, ge=1, description="labels shown for each picture")
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = Field(
        None, description="write the results to a .csv, .jsonl or .html file"
    )
    device: Device = "auto"
    as_json: AsJson = False


def main(args: list[str]) -> int:
    flags = parse(Flags, args, prog="calligram classify")
    if not flags.images:
        raise UserError("missing: IMAGE...; name at least one picture or folder")
    check_result_file(flags.out)
    with joined() as processes:
        return classify_all(flags, processes)


def classify_all(flags: Flags, processes: Processes) -> int:
    """The exit status; of several processes the first one has it, since torchrun ends all where one fails."""
    data_set = data_set_of(flags.images)
    tree = read_labels(flags, data_set)
    templates = read_templates(flags, data_set)
    words = read_background(flags.background, tree.leaves) if flags.background is not None else []
    lines = processes.stdin_lines() if STDIN in flags.images else None
    items = find_items(flags.images, flags.split, lines)
    run = find_run(flags.model, "clip")
    from calligram.clip.zero_shot import load_clip

    with processes.main_first():
        clip = load_clip(run, find_device(flags.device), native=flags.native)
    clip.spread = processes.spread()
    if flags.background == IMAGENET:
        words = readable(clip, words, templates)
    scorer = build_scorer(clip, flags, tree, templates, words)
    outcome = Outcome(open_writers(flags, tree, run) if processes.is_main else [])
    results = classify(clip, scorer, tree, words, items.share(processes.rank, processes.size), flags)
    try:
        for result in processes.merge(results):
            outcome.add(result)
        outcome.close()
    except BaseException:
        for writer in outcome.writers:
            writer.abandon()
        raise
    if flags.out is not None and not flags.as_json and processes.is_main:
        print(flags.out)
    return STATUS_FAILED if outcome.num_bad and processes.is_main else 0


def build_scorer(
    clip: "ClipPipeline", flags: Flags, tree: "LabelTree", templates: Sequence[str], words: Sequence[str]
) -> "Scorer":
    """Vectors of labels and background, from the cache where they lie there; calibrated if that is asked for."""
    from calligram.clip.prompts import read_descriptions
    from calligram.clip.scoring import check_several, make_scorer

    if flags.mode == "several":
        check_several(clip.model, calibrated=flags.calibrate is not None)
    kept_in = cache.folder() / LABELS_CACHE
    descriptions = read_descriptions(flags.descriptions) if flags.descriptions is not None else None
    label_CE = clip.embed_labels(tree.leaves, templates, descriptions, kept_in)
    background_NE = clip.embed_labels(words, templates or ("{}",), None, kept_in) if words else None
    scorer = make_scorer(clip.model, label_CE, flags.mode, background_NE)
    if flags.calibrate is None:
        return scorer
    return calibrated(clip, scorer, tree.leaves, flags.calibrate, flags.calibrate_split)


def readable(clip: "ClipPipeline", words: Sequence[str], templates: Sequence[str]) -> list[str]:
    """The words whose prompts the model reads whole: nobody chose them, so that nobody could mend them."""
    from calligram.clip.prompts import fill

    def fits(word: str) -> bool:
        longest = max(len(clip.tokenizer.encode(fill(template, word))) for template in templates or ("{}",))
        return longest + 2 <= clip.tokenizer.context_length  # start and end

    kept = [word for word in words if fits(word)]
    if not kept:
        raise UserError(f"--background {IMAGENET}: this model reads too few tokens for its names: give a FILE of words")
    return kept


def open_writers(flags: Flags, tree: "LabelTree", run: Path) -> list[Writer]:
    """A file takes the table's place on stdout; lines of JSON are printed beside it."""
    writers: list[Writer] = [JsonLines()] if flags.as_json else []
    if flags.out is not None:
        shown = ", ".join(tree.leaves[:20]) + (f" and {len(tree.leaves) - 20} more" if len(tree.leaves) > 20 else "")
        facts = [("model", str(run)), ("labels", shown)]
        columns = columns_for(bool(tree.groups), flags.background is not None)
        top_k = min(flags.top_k, len(tree.leaves))
        writers.append(open_file(flags.out, top_k, columns, "Pictures and the labels that fit", facts))
    return writers or [Tables()]


def classify(
    clip: "ClipPipeline", scorer: "Scorer", tree: "LabelTree", words: Sequence[str], items: Items, flags: Flags
) -> Iterator[Result]:
    """A result for each item, in order; pictures are decoded while the model reads those before them."""
    as_page = flags.out is not None and flags.out.suffix.lower() == ".html"
    decoded = decode_ahead(items, decoder_for(clip), 2 * PICTURES_AT_ONCE, thumbnails=as_page)
    for chunk in chunks(track(decoded, "classify", total=items.total), PICTURES_AT_ONCE):
        pixels = [each.pixels for each in chunk if each.pixels is not None]
        rows = iter(results(scorer(clip.embed_prepared(pixels)), tree, words, flags.top_k) if pixels else ())
        for each in chunk:
            yield Result(each.item.name, problem=each.problem) if each.pixels is None else _named(next(rows), each)


def results(scores: "Scores", tree: "LabelTree", words: Sequence[str], top_k: int) -> Iterator[Result]:
    """The best of each row, without the name of its picture."""
    best = scores.probability_BC.topk(min(top_k, len(tree.leaves)))
    group_BG = tree.group_probabilities(scores.probability_BC).clamp(max=1)
    groups = group_BG.topk(min(top_k, len(tree.groups)))
    for row in range(len(scores.probability_BC)):
        names = ((tree.leaves[i], p) for i, p in _pairs(best, row))
        rejection = None
        if scores.background_B is not None and scores.background_similarity_B is not None:
            word, similarity = words[int(scores.background_B[row])], float(scores.background_similarity_B[row])
            rejection = Rejection(word, similarity, float(scores.similarity_B[row]))
        yield Result("", tuple(names), tuple((tree.groups[i].name, p) for i, p in _pairs(groups, row)), rejection)


def _pairs(top, row: int) -> Iterator[tuple[int, float]]:
    return zip(top.indices[row].tolist(), top.values[row].tolist(), strict=True)


def _named(result: Result, decoded: Decoded) -> Result:
    return Result(decoded.item.name, result.best, result.groups, result.rejection, thumbnail=decoded.thumbnail)
