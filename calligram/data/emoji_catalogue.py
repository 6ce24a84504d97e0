"""What emojis there are: names, groups and keywords, as OpenMoji's list gives them from Unicode's CLDR."""

import json
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from calligram.errors import UserError

NOT_THINGS = ("extras-openmoji", "extras-unicode", "component")  # groups without a place in Unicode's list of emojis
PICTOGRAM_MARK = "-fe0f"  # the variation selector, which file names have or lack at will


@dataclass(frozen=True)
class Thing:
    """One emoji, whoever draws it."""

    name: str  # "grinning face", "flag of mexico"
    codepoint: str  # "1f600", "1f1f2-1f1fd": the key in file names, without variation selectors
    slug: str  # "grinning-face": the key in file names that go by name
    group: str
    subgroup: str
    keywords: tuple[str, ...]


@lru_cache(maxsize=8)
def load_catalogue(path: Path) -> tuple[Thing, ...]:
    """Every emoji of ``openmoji.json`` that is no skin-tone variant, in Unicode's order."""
    try:
        rows = json.loads(path.read_bytes())
        return tuple(_thing(row) for row in rows if not row["skintone"] and row["group"] not in NOT_THINGS)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not OpenMoji's list of emojis ({error!r}): delete its folder") from error


def codepoint_key(file_stem: str) -> str:
    """``0023-FE0F-20E3`` → ``0023-20e3``."""
    return file_stem.lower().replace(PICTOGRAM_MARK, "")


def slug(text: str) -> str:
    """``woman’s hat`` → ``womans-hat``: small Latin letters and digits, hyphens between."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", plain.replace("'", "").replace("&", "and")).strip("-")


def clean_name(annotation: str) -> str:
    """CLDR's short name as running text: ``flag: Mexico`` → ``flag of mexico``, ``man: bald`` → ``man, bald``."""
    text = annotation.lower().replace("’", "'").replace("“", "").replace("”", "")
    text = re.sub("^flag: ", "flag of ", text)
    text = re.sub("^keycap: ", "keycap ", text)
    return " ".join(text.replace(": ", ", ").split())


def _thing(row: dict[str, Any]) -> Thing:
    name = clean_name(row["annotation"])
    return Thing(
        name=name,
        codepoint=codepoint_key(row["hexcode"]),
        slug=slug(row["annotation"]),
        group=row["group"],
        subgroup=row["subgroups"],
        keywords=_keywords(name, f"{row['openmoji_tags']},{row['tags']}", is_flag=row["group"] == "flags"),
    )


def _keywords(name: str, tags: str, is_flag: bool) -> tuple[str, ...]:
    """Tags that say more than the name does, each once, without symbols such as ``✓`` and countries' codes."""
    words = [tag.strip() for tag in tags.split(",")]
    words = [" ".join(word.lower().replace("’", "'").split()) for word in words if not (is_flag and word.isupper())]
    said = set(re.findall(r"\w+", name))
    telling = [word for word in words if re.fullmatch(r"[\w' -]+", word) and not said >= set(re.findall(r"\w+", word))]
    return tuple(dict.fromkeys(telling))
