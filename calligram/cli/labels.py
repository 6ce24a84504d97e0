"""What to choose from, and the sentences that stand for it, as a person gives them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from pydantic import BaseModel, Field

from calligram.cli.flags import Names
from calligram.data.manifest import FILE_NAME, Manifest
from calligram.errors import UserError

if TYPE_CHECKING:
    from calligram.clip.label_tree import LabelTree

IMAGENET = "imagenet"  # instead of a list of words: the names of its classes


class LabelFlags(BaseModel):
    """Flags of verbs that choose among labels."""

    labels: Annotated[Names, tyro.conf.arg(help_behavior_hint="")] = Field(
        (), description=f"what to choose from; {IMAGENET}: its 1,000 classes"
    )
    labels_file: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = Field(
        None, description='or a text file with a label a line, or JSON with groups: {"animal": ["cat", "dog"]}'
    )
    template: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = Field(
        (), description="sentence with {} for the label; of several, the mean is taken"
    )
    templates: Annotated[str | None, tyro.conf.arg(metavar="SET", help_behavior_hint="")] = Field(
        None, description="or a set of them: none, photo, openai-7, openai-80, a file, or a data set's folder"
    )
    templates_for: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = Field(
        None, description="data set whose templates to take of a JSON file that has several"
    )
    descriptions: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = Field(
        None, description="JSON {label: [sentences]} instead of templates, or beside them"
    )


def read_labels(flags: LabelFlags, data_set: Path | None) -> "LabelTree":
    """Each label once; those of the ``data_set`` where none are given."""
    from calligram.clip.label_tree import flat
    from calligram.clip.prompts import imagenet_names

    if flags.labels and flags.labels_file is not None:
        raise UserError("both --labels and --labels-file: give one of them")
    if flags.labels_file is not None:
        tree = read_label_file(flags.labels_file, "--labels-file")
    elif flags.labels == (IMAGENET,):
        tree = flat(imagenet_names())
    elif not flags.labels and data_set is not None:
        tree = flat(Manifest.load(data_set).class_names)
    else:
        tree = flat(flags.labels)
    if not tree.leaves:
        raise UserError('the list of labels is empty: give --labels "a cat,a dog", or --labels-file')
    return tree


def read_label_file(path: Path, flag: str) -> "LabelTree":
    """A label a line, or a tree in JSON."""
    from calligram.clip.label_tree import flat, parse_tree

    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {flag} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{flag} {path} is not a UTF-8 text: write a label a line") from None
    if path.suffix.lower() != ".json":
        return flat([line.strip() for line in text.splitlines() if line.strip()])
    try:
        return parse_tree(json.loads(text))
    except UserError as error:
        raise UserError(f"{flag} {path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{flag} {path} is not JSON ({error}): mend it") from None


def read_templates(flags: LabelFlags, data_set: Path | None) -> Sequence[str]:
    """Templates as given; none beside descriptions; a data set's own for its own labels; else the bare label."""
    from calligram.clip.prompts import find_templates

    if flags.template and flags.templates is not None:
        raise UserError("both --template and --templates: give one of them")
    if flags.template:
        return flags.template
    if flags.templates is not None:
        if (Path(flags.templates) / FILE_NAME).is_file():
            return Manifest.load(Path(flags.templates)).templates
        return find_templates(flags.templates, flags.templates_for)
    if flags.descriptions is not None:
        return ()
    names_are_its = not flags.labels and flags.labels_file is None
    return Manifest.load(data_set).templates if data_set is not None and names_are_its else ("{}",)


def read_background(where: str, labels: Sequence[str]) -> list[str]:
    """Words that a picture may be nearer to than to any label, those that are labels left out."""
    from calligram.clip.prompts import imagenet_names

    if where == IMAGENET:
        words = imagenet_names()
    else:
        words = list(read_label_file(Path(where), "--background").leaves)
    chosen = {label.casefold() for label in labels}
    kept = [word for word in dict.fromkeys(words) if word.casefold() not in chosen]
    if not kept:
        raise UserError(f"--background {where} has no words but the labels: give others, or {IMAGENET}")
    return kept
