"""A small byte-level byte-pair encoding, trained on the captions at hand."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from calligram.errors import UserError

SPECIAL_TOKENS = ("<pad>", "<start>", "<end>")  # ids 0, 1, 2
MIN_VOCAB_SIZE = len(SPECIAL_TOKENS) + 256


def train_small_bpe(captions: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learns merges from cleaned captions until ``vocab_size`` is full or no pair comes up twice.

    All 256 bytes are in the vocabulary, so any text can be encoded. A word carries the space before it, also
    at the start of a caption: a word is the same token wherever it stands, and decoding gives back every space.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        raise UserError(
            f"vocab_size {vocab_size} is too small: {len(SPECIAL_TOKENS)} specials and 256 bytes need {MIN_VOCAB_SIZE}"
        )
    trainee = Tokenizer(models.BPE())
    trainee.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trainee.train_from_iterator(captions, trainer)
    trainee.decoder = decoders.ByteLevel()
    return _without_special_parsing(trainee)


def _without_special_parsing(bpe: Tokenizer) -> Tokenizer:
    """The same tokenizer, in which a caption that says "<end>" means the five letters and not the end."""
    plain = Tokenizer(bpe.model)
    plain.pre_tokenizer = bpe.pre_tokenizer
    plain.decoder = bpe.decoder
    return plain
