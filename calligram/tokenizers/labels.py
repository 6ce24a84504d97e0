"""Captions that name one of a few classes, as one token each: what makes a DALL-E class-conditional."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Self

from tokenizers import Tokenizer, models

from calligram.errors import UserError
from calligram.tokenizers.small_bpe import SPECIAL_TOKENS
from calligram.tokenizers.text import TextTokenizer, clean


class LabelTokenizer(TextTokenizer):
    """A class's name, by itself or in one of the ``templates``, → start + the class's token + end.

    A caption without words is start and end alone: a picture of any class. All others raise UserError.
    """

    _TEXT_FIELDS: ClassVar[tuple[str, ...]] = ("templates",)

    def __init__(self, bpe: Tokenizer, *, templates: Sequence[str] = ("{}",), **numbers: int) -> None:
        super().__init__(bpe, **numbers)
        self.templates = tuple(templates)

    @classmethod
    def of(cls, class_names: Sequence[str], templates: Sequence[str], context_length: int) -> Self:
        """For the classes of a data set. Raises UserError where it has none, or two of one name."""
        names = [clean(name) for name in class_names]
        if not names:
            raise UserError("the data set names no classes: a tokenizer of labels needs class_names in its manifest")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UserError(f"two classes are called {twice!r}: give them different names in the manifest")
        vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *names])}
        pad_id, start_id, end_id = range(len(SPECIAL_TOKENS))
        return cls(
            Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=SPECIAL_TOKENS[0])),
            context_length=context_length,
            vocab_size=len(vocabulary),
            pad_id=pad_id,
            start_id=start_id,
            end_id=end_id,
            templates=templates,
        )

    @property
    def class_names(self) -> list[str]:
        """In the order of their tokens, which is the manifest's."""
        words = self._bpe.get_vocab()
        return sorted(words.keys() - set(SPECIAL_TOKENS), key=words.__getitem__)

    @cached_property
    def _id_of_caption(self) -> dict[str, int]:
        words = self._bpe.get_vocab()
        found: dict[str, int] = {"": -1}
        for template in ("{}", *self.templates):
            for name in self.class_names:
                caption = clean(template.replace("{}", name))
                if found.setdefault(caption, words[name]) != words[name]:
                    raise UserError(f"the caption {caption!r} is that of two classes: change the manifest's templates")
        return found

    def _encode_cleaned(self, texts: list[str]) -> list[list[int]]:
        known = self._id_of_caption
        unknown = next((text for text in texts if text not in known), None)
        if unknown is not None:
            names = self.class_names
            raise UserError(
                f"{unknown!r} names no class of this model; it knows {', '.join(names[:10])}"
                + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            )
        return [[known[text]] if text else [] for text in texts]

    @cached_property
    def _canonical_json(self) -> str:
        return self._as_json(type="labels", templates=list(self.templates))
