"""Our tokenizers as folders that Hugging Face's transformers reads, with the same ids."""

from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, normalizers, processors

from calligram.tokenizers.clip_bpe import CLIP_VOCAB_SIZE, clip_vocabulary
from calligram.tokenizers.hf import HFTextTokenizer
from calligram.tokenizers.text import TextTokenizer


def is_clip(tokenizer: TextTokenizer) -> bool:
    """Whether a tokenizer is CLIP's own, which others have, too."""
    return not isinstance(tokenizer, HFTextTokenizer) and tokenizer.vocab_size == CLIP_VOCAB_SIZE


def save_for_transformers(tokenizer: TextTokenizer, folder: Path) -> None:
    """``tokenizer.json`` and its config, for ``AutoTokenizer.from_pretrained``.

    What mends mis-decoded characters and HTML entities is Python, and not in these files; all else is.
    """
    made = _clip(tokenizer) if is_clip(tokenizer) else _fast(tokenizer)
    made.save_pretrained(folder)


def _clip(tokenizer: TextTokenizer) -> Any:
    from transformers import CLIPTokenizer

    tokens, merges = clip_vocabulary()
    names = [*tokens, "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: index for index, token in enumerate(names)}
    pairs: Any = merges  # annotated as texts, taken as pairs
    return CLIPTokenizer(vocab=vocab, merges=pairs, model_max_length=tokenizer.context_length)


def _fast(tokenizer: TextTokenizer) -> Any:
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer.from_str(tokenizer.bpe.to_str())
    if not isinstance(tokenizer, HFTextTokenizer):
        space = normalizers.Replace(Regex(r"\s+"), " ")
        bpe.normalizer = normalizers.Sequence([space, normalizers.Strip(), normalizers.Lowercase()])
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
    )
