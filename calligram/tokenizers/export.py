"""Our tokenizers as folders that Hugging Face's transformers reads, with the same ids."""

import re
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, processors

from calligram.tokenizers.clip_bpe import CLIP_VOCAB_SIZE, clip_vocabulary
from calligram.tokenizers.hf import CLEANING_KEY, PUNCTUATION, Cleaning, HFTextTokenizer
from calligram.tokenizers.text import TextTokenizer

NEVER_TYPED = "\ue000"  # of Unicode's private use


def is_clip(tokenizer: TextTokenizer) -> bool:
    """Whether a tokenizer is CLIP's own, which others have, too."""
    return not isinstance(tokenizer, HFTextTokenizer) and tokenizer.vocab_size == CLIP_VOCAB_SIZE


def is_stripped(tokenizer: TextTokenizer) -> bool:
    """Whether its texts end without a token for it; transformers has no such tokenizers, open_clip makes them."""
    return isinstance(tokenizer, HFTextTokenizer) and tokenizer.ending == "stripped"


def save_for_transformers(tokenizer: TextTokenizer, folder: Path, reads_padding: bool = False) -> None:
    """``tokenizer.json`` and its config, for ``AutoTokenizer.from_pretrained``.

    What mends mis-decoded characters and HTML entities is Python, and not in these files; all else is.
    ``reads_padding`` is for a model that reads it, as SigLIP does: then padding has our ids, too.
    """
    if is_clip(tokenizer):
        made = _clip_padded(tokenizer) if reads_padding else _clip(tokenizer)
    else:
        made = _fast(tokenizer)
    if reads_padding:
        made.model_input_names = made.init_kwargs["model_input_names"] = ["input_ids"]  # no mask that would hide it
    made.save_pretrained(folder)


def _clip(tokenizer: TextTokenizer) -> Any:
    from transformers import CLIPTokenizer

    tokens, merges = clip_vocabulary()
    names = [*tokens, "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(names)}
    pairs: Any = merges  # annotated as texts, taken as pairs
    return CLIPTokenizer(vocab=vocab, merges=pairs, model_max_length=tokenizer.context_length)


def _clip_padded(tokenizer: TextTokenizer) -> Any:
    """CLIP's, padded with its token 0, which is also an exclamation mark within a word.

    A padding token is looked for in texts, where "!" is one of the words. It is looked for in normalised form,
    though, and here that of a lone "!" is a character which nobody types: only a text of nothing but "!" is misread.
    """
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer.from_str(_clip(tokenizer).backend_tokenizer.to_str())
    pad = bpe.id_to_token(tokenizer.pad_id) or ""
    alone = normalizers.Replace(Regex(rf"\A{re.escape(pad)}\z"), NEVER_TYPED)
    bpe.normalizer = normalizers.Sequence([bpe.normalizer, alone])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=bpe.id_to_token(tokenizer.start_id),
        eos_token=bpe.id_to_token(tokenizer.end_id),
        pad_token=AddedToken(pad, normalized=True, special=True),
        model_max_length=tokenizer.context_length,
    )


def _fast(tokenizer: TextTokenizer) -> Any:
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer.from_str(tokenizer.bpe.to_str())
    cleaning: Cleaning = tokenizer.cleaning if isinstance(tokenizer, HFTextTokenizer) else "lower"
    steps = [*_cleaning_steps(cleaning), *([bpe.normalizer] if bpe.normalizer is not None else [])]
    if steps:
        bpe.normalizer = normalizers.Sequence(steps)
    if not isinstance(tokenizer, HFTextTokenizer):
        start, end = (bpe.id_to_token(index) for index in (tokenizer.start_id, tokenizer.end_id))
        bpe.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}", special_tokens=[(start, tokenizer.start_id), (end, tokenizer.end_id)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=bpe.id_to_token(tokenizer.start_id),
        eos_token=bpe.id_to_token(tokenizer.end_id),
        pad_token=bpe.id_to_token(tokenizer.pad_id),
        model_max_length=tokenizer.context_length,
        **({"sep_token": bpe.id_to_token(tokenizer.end_id)} if is_stripped(tokenizer) else {}),
        **{CLEANING_KEY: cleaning},  # for us, who also mend
    )


def _cleaning_steps(cleaning: Cleaning) -> list[Any]:
    """What is done to a text ahead of the tokenizer's own normaliser; done twice it is as if done once."""
    one_space = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    no_punctuation = [
        normalizers.Replace("_", " "),
        normalizers.Replace(Regex(f"[{re.escape(PUNCTUATION)}]"), ""),
        normalizers.Lowercase(),
    ]
    return {
        "none": [],
        "whitespace": one_space,
        "lower": [*one_space, normalizers.Lowercase()],
        "canonicalize": [*no_punctuation, *one_space],
    }[cleaning]
