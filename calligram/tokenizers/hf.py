"""A tokenizer of Hugging Face as it is, for models that were trained with it."""

import json
import string
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from tokenizers import Tokenizer

from calligram.errors import UserError
from calligram.tokenizers.text import TextTokenizer, repair

Cleaning = Literal["none", "whitespace", "lower", "canonicalize"]
Ending = Literal["kept", "stripped"]
TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CLEANING_KEY = "calligram_cleaning"  # in there, of tokenizers that we wrote
PUNCTUATION = string.punctuation.replace("_", "")
_WITHOUT_PUNCTUATION = str.maketrans("_", " ", PUNCTUATION)


class HFTextTokenizer(TextTokenizer):
    """Captions → rows of ids, with the start and end that the tokenizer itself puts around them.

    Its own normaliser does the cleaning; ``cleaning`` is what a model's makers did to texts before that, by
    open_clip's names: SigLIP's is "canonicalize", no punctuation and lower case (arXiv 2303.15343). With an ``ending``
    "stripped" the end of a text is told by nothing but zeros, as CLIPA's models want it (arXiv 2305.07017).
    """

    _TEXT_FIELDS: ClassVar[tuple[str, ...]] = ("cleaning", "ending")

    def __init__(self, bpe: Tokenizer, *, cleaning: Cleaning = "none", ending: Ending = "kept", **numbers: int) -> None:
        super().__init__(bpe, **numbers)
        bpe.no_padding()
        bpe.no_truncation()
        self.cleaning: Cleaning = cleaning
        self.ending: Ending = ending

    @classmethod
    def of(
        cls, name: str, context_length: int, cleaning: Cleaning = "none", vocab_size: int = 0, ending: Ending = "kept"
    ) -> Self:
        """The tokenizer of a folder with ``tokenizer.json``, or of a model on the hub.

        ``vocab_size`` is that of the model, which may be larger than the tokenizer's.
        """
        from transformers import AutoTokenizer

        try:
            theirs: Any = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"no tokenizer {name!r}: {reason}") from None
        bpe = getattr(theirs, "backend_tokenizer", None)
        if not isinstance(bpe, Tokenizer):
            raise UserError(f"the tokenizer of {name!r} has no {TOKENIZER_JSON}: convert it with transformers first")
        end = _first_id(theirs.eos_token_id, theirs.sep_token_id)
        if end is None:
            raise UserError(f"the tokenizer of {name!r} names no eos or sep token, which would end a text")
        if ending == "stripped" and theirs.sep_token_id is not None:  # open_clip's rule, whatever else ends a text
            end = theirs.sep_token_id
        around, pad = bpe.encode("").ids, theirs.pad_token_id
        return cls(
            Tokenizer.from_str(bpe.to_str()),  # theirs stays as it was
            context_length=context_length,
            vocab_size=max(vocab_size, bpe.get_vocab_size()),
            pad_id=end if pad is None else pad,
            start_id=around[0] if len(around) > 1 else end,
            end_id=end,
            cleaning=cleaning,
            ending=ending,
        )

    def __call__(self, texts: str | Sequence[str], strict: bool = False) -> torch.Tensor:
        texts = [texts] if isinstance(texts, str) else list(texts)
        rows = self._rows(texts)
        if strict:
            self._check_lengths(texts, [len(row) for row in rows])
        last = self.context_length - 1
        cut = [row if len(row) <= last + 1 else [*row[:last], self.end_id] for row in rows]
        table = self._table(cut)
        if self.ending == "stripped":
            table[table == self.end_id] = 0
        return torch.from_numpy(table)

    def encode(self, text: str) -> list[int]:
        return self._bpe.encode(self._cleaned(text), add_special_tokens=False).ids

    def decode(self, ids: Iterable[int] | torch.Tensor) -> str:
        kept = ids.tolist() if isinstance(ids, torch.Tensor) else list(ids)
        skipped = 1 if kept and kept[0] == self.start_id else 0
        end = next((place for place in range(skipped, len(kept)) if kept[place] == self.end_id), len(kept))
        return self._bpe.decode(kept[skipped:end]).strip()

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids with start and end; a tokenizer that puts no end there, as GPT's, gets one."""
        rows = [encoding.ids for encoding in self._bpe.encode_batch([self._cleaned(text) for text in texts])]
        return [row if row and row[-1] == self.end_id else [*row, self.end_id] for row in rows]

    def _cleaned(self, text: str) -> str:
        if self.cleaning == "none":
            return text
        if self.cleaning == "canonicalize":
            text = repair(text).translate(_WITHOUT_PUNCTUATION).lower()
        elif self.cleaning == "lower":
            text = repair(text).lower()
        return " ".join(repair(text).split())

    @cached_property
    def _canonical_json(self) -> str:
        others = {} if self.ending == "kept" else {"ending": self.ending}  # older files do not say
        return self._as_json(type="hf", cleaning=self.cleaning, **others)


def has_tokenizer(folder: Path) -> bool:
    return (folder / TOKENIZER_JSON).is_file()


def written_cleaning(folder: Path) -> Cleaning | None:
    """What was done to texts before a tokenizer that we wrote; None for others', whose files do not say."""
    try:
        found = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8")).get(CLEANING_KEY)
    except (OSError, ValueError, AttributeError):
        return None
    return found if found in get_args(Cleaning) else None


def _first_id(*ids: int | None) -> int | None:
    return next((index for index in ids if index is not None), None)
