"""A tokenizer of Hugging Face inside ours: the same ids, kept in one file."""

import pytest
import torch
from open_clip.tokenizer import get_clean_fn
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from calligram.errors import UserError
from calligram.tokenizers.hf import HFTextTokenizer
from calligram.tokenizers.text import TextTokenizer
from calligram.tokenizers.text_config import TextTokenizerConfig

WORDS = "[PAD] [CLS] [SEP] [UNK] a red circle above blue square it s don t ! , cat under score".split()
TEXTS = ["a Red circle", "a blue square above a red cat", "it's!", "", "a_cat &amp; under score"]


@pytest.fixture
def bert(tmp_path) -> str:
    """With a start and an end of its own, and a pad."""
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert")


def test_the_same_ids_as_theirs(bert):
    ours, theirs = HFTextTokenizer.of(bert, 12), AutoTokenizer.from_pretrained(bert)
    expected = theirs(TEXTS, padding="max_length", max_length=12, truncation=True, return_tensors="pt")["input_ids"]
    assert torch.equal(ours(TEXTS), expected)
    assert (ours.start_id, ours.end_id, ours.pad_id, ours.vocab_size) == (1, 2, 0, len(WORDS))
    assert ours.decode(ours(TEXTS)[1]) == "a blue square above a red cat"


def test_what_is_too_long_is_cut_or_refused(bert):
    ours, theirs = HFTextTokenizer.of(bert, 5), AutoTokenizer.from_pretrained(bert)
    expected = theirs(TEXTS, padding="max_length", max_length=5, truncation=True, return_tensors="pt")["input_ids"]
    assert torch.equal(ours(TEXTS), expected)
    with pytest.raises(UserError, match="has 9 tokens with start and end, more than the 5 that fit"):
        ours(TEXTS, strict=True)


def test_one_without_an_end_gets_one(bert, tmp_path):
    theirs = AutoTokenizer.from_pretrained(bert)
    theirs.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])
    theirs.save_pretrained(tmp_path / "gpt")
    assert HFTextTokenizer.of(str(tmp_path / "gpt"), 6)("a cat").tolist() == [[4, WORDS.index("cat"), 2, 0, 0, 0]]


@pytest.mark.parametrize("cleaning", ["none", "whitespace", "lower", "canonicalize"])
def test_it_comes_back_from_its_file(bert, tmp_path, cleaning):
    ours = HFTextTokenizer.of(bert, 12, cleaning, vocab_size=40)
    ours.save(tmp_path / "text_tokenizer.json")
    loaded = TextTokenizer.load(tmp_path / "text_tokenizer.json")
    assert isinstance(loaded, HFTextTokenizer)
    assert torch.equal(loaded(TEXTS), ours(TEXTS))
    assert (loaded.vocab_size, loaded.cleaning, loaded.fingerprint) == (40, cleaning, ours.fingerprint)


@pytest.mark.parametrize("cleaning", ["whitespace", "lower", "canonicalize"])
def test_texts_are_cleaned_as_open_clip_cleans_them(bert, cleaning):
    ours = HFTextTokenizer.of(bert, 12, cleaning)
    texts = [*TEXTS, "  The   Cat’s\tHAT… ", "a&amp;amp;b", "x_y-z (1)!", "rÃ©sumÃ©"]
    assert [ours._cleaned(text) for text in texts] == [get_clean_fn(cleaning)(text) for text in texts]


def test_a_run_names_the_tokenizer_of_its_model(bert):
    config = TextTokenizerConfig(type="hf", name=bert)
    assert torch.equal(config.build([], 12)(TEXTS), HFTextTokenizer.of(bert, 12)(TEXTS))
    with pytest.raises(UserError, match="no tokenizer 'nowhere'"):
        TextTokenizerConfig(type="hf", name="nowhere").build([], 12)
    for wrong in ({"type": "hf"}, {"type": "bpe", "name": "x"}):
        with pytest.raises(ValueError, match="belong together"):
            TextTokenizerConfig(**wrong)
