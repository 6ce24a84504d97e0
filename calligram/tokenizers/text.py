"""Words to ids and back: CLIP's byte-pair encoding, or a small one trained on the captions at hand."""

import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import ClassVar, Self

import ftfy
import numpy as np
import torch
from tokenizers import Tokenizer

from calligram.errors import UserError
from calligram.tokenizers.clip_bpe import CLIP_VOCAB_SIZE, build_clip_bpe
from calligram.tokenizers.small_bpe import SPECIAL_TOKENS, train_small_bpe

_INTEGER_FIELDS = ("context_length", "vocab_size", "pad_id", "start_id", "end_id")
_MAX_REMEMBERED_IDS = 2**16  # some 15 MB in each process; then the memory of words starts afresh


class TextTokenizer:
    """Captions to a table of ids, each row start + words + end + padding, as wide as ``context_length``.

    Made by ``TextTokenizer.clip()``, ``TextTokenizer.train(captions)`` or ``TextTokenizer.load(path)``.
    Text is cleaned first, see ``clean``.
    """

    _TEXT_FIELDS: ClassVar[tuple[str, ...]] = ()  # what a subclass keeps beside the numbers

    def __init__(
        self, bpe: Tokenizer, *, context_length: int, vocab_size: int, pad_id: int, start_id: int, end_id: int
    ) -> None:
        if context_length < 3:
            raise UserError(f"context_length {context_length} has no room for start, a word and end: give 3 or more")
        if not all(0 <= index < vocab_size for index in (pad_id, start_id, end_id)):
            raise UserError(f"pad, start and end {pad_id, start_id, end_id} must lie below vocab_size {vocab_size}")
        self.context_length = context_length
        self.vocab_size = vocab_size
        self.pad_id = pad_id
        self.start_id = start_id
        self.end_id = end_id
        self._bpe = bpe
        self._ids_of_word: dict[str, list[int]] = {}
        self._num_remembered = 0  # ids in there

    @classmethod
    def clip(cls, context_length: int = 77) -> Self:
        """The tokenizer of CLIP and of most models trained after it; same ids as open_clip's.

        Padding is 0 as in CLIP, where 0 is also an exclamation mark inside a word: only ``end_id`` tells where
        a caption ends.
        """
        return cls(
            build_clip_bpe(),
            context_length=context_length,
            vocab_size=CLIP_VOCAB_SIZE,
            pad_id=0,
            start_id=CLIP_VOCAB_SIZE - 2,
            end_id=CLIP_VOCAB_SIZE - 1,
        )

    @classmethod
    def train(cls, captions: Iterable[str], vocab_size: int = 1024, context_length: int = 32) -> Self:
        """A small vocabulary for these captions; the same captions, in any order, give the same vocabulary.

        ``vocab_size`` is an upper bound: ``self.vocab_size`` is smaller where captions run out of frequent pairs.
        """
        captions = iter(captions)
        first = next(captions, None)
        if first is None:
            raise UserError("there are no captions to train a tokenizer on: give at least one")
        bpe = train_small_bpe(map(clean, chain([first], captions)), vocab_size)
        pad_id, start_id, end_id = range(len(SPECIAL_TOKENS))
        actual_size = bpe.get_vocab_size()
        return cls(
            bpe,
            context_length=context_length,
            vocab_size=actual_size,
            pad_id=pad_id,
            start_id=start_id,
            end_id=end_id,
        )

    def __call__(self, texts: str | Sequence[str], strict: bool = False) -> torch.Tensor:
        """Ids of the texts, int64, (number of texts, context_length).

        A longer text is cut so that the last id is ``end_id``; with ``strict`` it raises UserError.
        """
        texts = [texts] if isinstance(texts, str) else texts
        ids = self._encode_cleaned([clean(text) for text in texts])
        if strict:
            self._check_lengths(texts, [len(row) + 2 for row in ids])
        return torch.from_numpy(self._pad(ids))

    def encode(self, text: str) -> list[int]:
        """Ids of one text, all of them, without start and end."""
        return self._encode_cleaned([clean(text)])[0]

    def decode(self, ids: Iterable[int] | torch.Tensor) -> str:
        """The cleaned text up to the first ``end_id``; start and padding are dropped.

        CLIP's encoding forgets which words had a space between them: "it's" comes back as "it 's".
        """
        kept = []
        for index in ids.tolist() if isinstance(ids, torch.Tensor) else ids:
            if not 0 <= index < self.vocab_size:
                raise UserError(f"id {index} is not in the vocabulary of {self.vocab_size}: another tokenizer's id?")
            if index == self.end_id:
                break
            if index not in self._silent_ids:
                kept.append(index)
        return self._bpe.decode(kept).strip()

    def save(self, path: Path) -> None:
        """Writes one JSON file, the same bytes for the same tokenizer."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._canonical_json, encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what ``save`` wrote, also of a tokenizer that came from Hugging Face."""
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            if cls is TextTokenizer and (kind := _kind(stored.get("type"))) is not TextTokenizer:
                return kind.load(path)  # pyright: ignore[reportReturnType]  # a subclass of ours
            bpe = Tokenizer.from_str(json.dumps(stored["tokenizer"]))
            numbers = {name: int(stored[name]) for name in _INTEGER_FIELDS}
            tokenizer = cls(bpe, **numbers, **{name: stored[name] for name in cls._TEXT_FIELDS if name in stored})
        except OSError as error:
            raise UserError(f"cannot read a tokenizer from {path}: {error.strerror}") from error
        except UserError:
            raise
        except Exception as error:  # the Rust library raises nothing more precise
            raise UserError(f"{path} is not a saved text tokenizer ({error}): save it anew") from error
        tokenizer.__dict__["_canonical_json"] = _canonical(stored)  # outlives changes in the library's format
        return tokenizer

    @property
    def bpe(self) -> Tokenizer:
        """What encodes words, without cleaning, start and end."""
        return self._bpe

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell tokenizers apart: the head of the SHA-256 of the saved file."""
        return hashlib.sha256(self._canonical_json.encode("utf-8")).hexdigest()[:16]

    @property
    def word_fingerprint(self) -> str:
        """As ``fingerprint``, but the same for tokenizers that differ in where they cut a text alone."""
        stored = json.loads(self._canonical_json)
        kept = {name: x for name, x in stored.items() if name not in ("context_length", "vocab_size")}
        return hashlib.sha256(_canonical(kept).encode("utf-8")).hexdigest()[:16]

    @cached_property
    def _canonical_json(self) -> str:
        return self._as_json()

    def _as_json(self, **others: str | list[str]) -> str:
        numbers = {name: getattr(self, name) for name in _INTEGER_FIELDS}
        return _canonical({**numbers, **others, "tokenizer": json.loads(self._bpe.to_str())})

    @cached_property
    def _silent_ids(self) -> set[int]:
        """Ids that stand for no text. CLIP pads with a real token, which padding after the end never shows."""
        padding = {self.pad_id} if self._bpe.id_to_token(self.pad_id) == SPECIAL_TOKENS[0] else set()
        return {self.start_id} | padding

    def _encode_cleaned(self, texts: list[str]) -> list[list[int]]:
        """Ids of cleaned texts. No token reaches across a space, so a word is encoded once and then remembered."""
        known = self._ids_of_word  # another thread may put a new one in its place meanwhile
        words = set(chain.from_iterable(map(str.split, texts)))
        missing = [word for word in words if word not in known]
        if self._num_remembered > _MAX_REMEMBERED_IDS:
            known, missing = {}, list(words)
            self._ids_of_word, self._num_remembered = known, 0
        for word, encoding in zip(missing, self._bpe.encode_batch_fast(missing), strict=True):
            known[word] = encoding.ids
            self._num_remembered += len(known[word])
        return [list(chain.from_iterable(map(known.__getitem__, text.split()))) for text in texts]

    def _pad(self, ids: list[list[int]]) -> np.ndarray:
        return self._table([[self.start_id, *row[: self.context_length - 2], self.end_id] for row in ids])

    def _table(self, rows: list[list[int]]) -> np.ndarray:
        """Rows of at most ``context_length`` ids, filled up with padding."""
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        table = np.full((len(rows), self.context_length), self.pad_id, dtype=np.int64)
        filled = np.arange(self.context_length) < lengths[:, None]
        table[filled] = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=int(lengths.sum()))
        return table

    def _check_lengths(self, texts: Sequence[str], lengths: list[int]) -> None:
        for text, length in zip(texts, lengths, strict=True):
            if length > self.context_length:
                shown = repr(text if len(text) <= 60 else text[:59] + "…")
                raise UserError(
                    f"{shown} has {length} tokens with start and end, more than the {self.context_length} "
                    "that fit: shorten it"
                )


def clean(text: str) -> str:
    """Repairs what the web does to captions, then lower-cases, with one space between words."""
    return " ".join(repair(text).split()).lower()


def repair(text: str) -> str:
    """Mis-decoded characters and HTML entities (also those escaped twice) are put right, as open_clip does."""
    if text.isascii() and text.isprintable() and "&" not in text:  # printable ASCII has nothing to repair
        return text
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def trim_to_longest(ids: torch.Tensor, end_id: int) -> torch.Tensor:
    """Cuts the columns, padding only, that come after the longest caption's end. (B, T) → (B, shorter T).

    A row without ``end_id`` counts as full. Exact for a text tower that is causal and pools at the end.
    """
    is_end = ids == end_id
    last = torch.where(is_end.any(dim=1), is_end.int().argmax(dim=1), ids.shape[1] - 1)
    return ids[:, : int(last.max()) + 1] if len(ids) else ids


def _kind(name: str | None) -> type[TextTokenizer]:
    """Which class wrote a file with this type."""
    if name == "hf":
        from calligram.tokenizers.hf import HFTextTokenizer

        return HFTextTokenizer
    if name == "labels":
        from calligram.tokenizers.labels import LabelTokenizer

        return LabelTokenizer
    return TextTokenizer


def _canonical(stored: dict) -> str:
    return json.dumps(stored, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
