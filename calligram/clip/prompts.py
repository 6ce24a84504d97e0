"""Sentences to classify with: a label in each of some templates (arXiv 2103.00020), descriptions of it, or both.

A template has ``{}``, or ``{c}`` as CLIP_benchmark writes it, where the label goes.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calligram.errors import UserError

PLACE = re.compile(r"\{c?\}")
Descriptions = Mapping[str, Sequence[str]]  # label → sentences about it

_OWN: dict[str, list[str]] = {"none": ["{}"], "photo": ["a photo of a {}."]}
_PUBLISHED = {"openai-7": "SIMPLE_IMAGENET_TEMPLATES", "openai-80": "OPENAI_IMAGENET_TEMPLATES"}
TEMPLATE_SETS = (*_OWN, *_PUBLISHED)


def template_set(name: str) -> list[str]:
    """A set by its name; those of OpenAI are what open_clip has of them."""
    if name in _OWN:
        return list(_OWN[name])
    if name not in _PUBLISHED:
        raise UserError(f"no template set {name!r}: choose {', '.join(TEMPLATE_SETS[:-1])} or {TEMPLATE_SETS[-1]}")
    from open_clip import zero_shot_metadata  # here, since it takes seconds

    sentences: Sequence[Callable[[str], str]] = getattr(zero_shot_metadata, _PUBLISHED[name])
    return [sentence("{}") for sentence in sentences]


def imagenet_names() -> list[str]:
    """The 1,000 classes of ImageNet as open_clip names them. Two names stand twice, for different classes."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES

    return list(IMAGENET_CLASSNAMES)


def find_templates(where: str, data_set: str | None = None) -> list[str]:
    """A set by its name, or from a file: see :func:`read_templates`."""
    return template_set(where) if where in TEMPLATE_SETS else read_templates(Path(where), data_set)


def read_templates(path: Path, data_set: str | None = None) -> list[str]:
    """Templates from a file: a line each, a JSON list, or CLIP_benchmark's JSON {data set: [templates]}.

    Raises UserError where the file is none of these, or has several data sets and none is named.
    """
    text = read_text(path, f"templates are a file or one of {', '.join(TEMPLATE_SETS)}")
    found = _parse(path, text) if path.suffix.lower() == ".json" else list(filter(str.strip, text.splitlines()))
    if isinstance(found, dict):
        found = _choose_data_set(found, path, data_set)
    if not _is_list_of_words(found):
        raise UserError(f"{path} has no templates: write a line each, or a JSON list of sentences with {{}}")
    found = [line.strip() for line in found]
    check_templates(found, str(path))
    return found


def read_descriptions(path: Path) -> dict[str, list[str]]:
    """Sentences about each label, as CuPL has them (arXiv 2209.03320): JSON {label: [sentences]}."""
    found = _parse(path, read_text(path, "give a JSON file {label: [sentences]}"))
    if not isinstance(found, dict) or not all(_is_list_of_words(sentences) for sentences in found.values()):
        raise UserError(f"{path} has no descriptions: write JSON {{label: [sentences]}}")
    return found


def make_prompts(
    labels: Sequence[str], templates: Sequence[str] = ("{}",), descriptions: Descriptions | None = None
) -> list[list[str]]:
    """The prompts of each label. With ``descriptions`` the templates may be none at all."""
    if not labels:
        raise UserError("the list of labels is empty: name at least one")
    if not templates and descriptions is None:
        raise UserError("the list of templates is empty: name at least one, '{}' for the label alone")
    check_templates(templates)
    described = descriptions or {}
    prompts = [[fill(template, label) for template in templates] + list(described.get(label, ())) for label in labels]
    for label, sentences in zip(labels, prompts, strict=True):
        if not sentences:
            raise UserError(f"no description of the label {label!r}: add one, or give templates, too")
    return prompts


def fill(template: str, label: str) -> str:
    """The label in its place; what looks like a place within the label stays as it is."""
    return PLACE.sub(lambda _: label, template)


def check_templates(templates: Sequence[str], where: str = "") -> None:
    """Raises UserError for one without a place for the label."""
    for template in templates:
        if not PLACE.search(template):
            prefix = f"{where}: " if where else ""
            raise UserError(f"{prefix}template {template!r} has no {{}} where the label goes")


def read_text(path: Path, remedy: str) -> str:
    """A UTF-8 file, or a UserError that ends with ``remedy``."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}): {remedy}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a UTF-8 text: {remedy}") from None


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): mend it") from None


def _choose_data_set(found: dict[str, Any], path: Path, data_set: str | None) -> Any:
    if data_set is None and len(found) == 1:
        return next(iter(found.values()))
    if data_set not in found:
        asked = f"no data set {data_set!r}" if data_set else f"{len(found)} data sets"
        names = ", ".join(list(found)[:10]) + (", …" if len(found) > 10 else "")
        raise UserError(f"{path} has {asked}: name one of {names}")
    return found[data_set]


def _is_list_of_words(found: Any) -> bool:
    return isinstance(found, list) and bool(found) and all(isinstance(line, str) and line.strip() for line in found)
