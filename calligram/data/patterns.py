"""Shards by pattern: ``photos/*.tar``, ``https://host/{0000..0123}.tar``, a folder; one name for each shard."""

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from braceexpand import braceexpand

from calligram.data import transport
from calligram.data.place import PIPE, is_url, scheme
from calligram.errors import UserError

MOST_SHARDS = 1_000_000  # that one pattern may stand for: a typing error in {0..99999999} fills the memory


def expand(patterns: Sequence[str]) -> list[str]:
    """The paths and URLs that patterns stand for, in the order of the patterns and then by name."""
    names = [name for pattern in patterns for part in _braces(pattern) for name in _matches(part)]
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise UserError(f"{name} is named {times} times: give each shard once")
    return names


def _braces(pattern: str) -> Iterator[str]:
    try:
        parts = list(islice(braceexpand(pattern), MOST_SHARDS + 1))
    except ValueError:  # unbalanced braces
        raise UserError(f"{pattern} has a brace too many: write {{0000..0123}} or {{a,b}}, and \\{{ for one") from None
    if len(parts) > MOST_SHARDS:
        raise UserError(f"{pattern} stands for more than {MOST_SHARDS:,} shards: give fewer at a time")
    return iter(parts)


def _matches(name: str) -> list[str]:
    if name.startswith(PIPE):
        return [name]
    if is_url(name):
        return _matches_far(name) if "*" in name else [name]
    path = Path(name)
    if path.is_dir():
        found = sorted(str(tar) for tar in path.rglob("*.tar") if tar.is_file())
    elif path.exists():
        found = [name]
    else:
        found = sorted(match for match in glob.glob(name, recursive=True) if Path(match).is_file())
    if not found:
        raise UserError(f"no shard matches {name}: give .tar files, a folder of them, or a pattern such as 'a/*.tar'")
    return found


def _matches_far(url: str) -> list[str]:
    if scheme(url) in ("http", "https"):
        raise UserError(f"{url}: a web server has no list of its files to match *: write {{0000..0123}}")
    try:
        found = transport.find(url)
    except Exception as error:
        raise UserError(f"{url}: {' '.join(str(error).split()) or type(error).__name__}") from None
    if not found:
        raise UserError(f"no shard matches {url}: check the address, and that you may read it")
    return found
