"""A SigLIP of ours as a folder of Hugging Face: model, words and pictures as transformers reads them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoModel, AutoProcessor, AutoTokenizer, SiglipModel, SiglipProcessor

from calligram import load_clip
from calligram.cli.main import main
from calligram.clip.load import save_model
from calligram.clip.model import Clip
from calligram.clip.weights.export import export_hf
from calligram.presets import clip as presets
from calligram.tokenizers.hf import HFTextTokenizer
from calligram.tokenizers.text import TextTokenizer
from tests.clip.weights.peers import CLOSE, differences, perturbed

LENGTH = 16
TEXTS = [
    "a photo of a cat",
    "Wow! two DOGS, snow_covered!!",
    "!! it's 2 o'clock; don't ! ?!",
    "  many \t spaces  " + "and words " * LENGTH,
    "façade",
]


def like_siglips() -> HFTextTokenizer:
    """Unigram pieces behind a metaspace, an end and no start, padding with the end: as in SigLIP's files."""
    letters = [(letter, -8.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789!?;,'ç"]
    pieces = [("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0), ("▁cat", -4.0), ("▁a", -3.5), ("▁dogs", -5.0), *letters]
    bpe = Tokenizer(models.Unigram(pieces, unk_id=1))
    bpe.normalizer = normalizers.Sequence([normalizers.NFKC()])
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    bpe.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    numbers = {"vocab_size": len(pieces), "pad_id": 0, "start_id": 0, "end_id": 0}
    return HFTextTokenizer(bpe, context_length=LENGTH, cleaning="canonicalize", **numbers)


TOKENIZERS = {
    "clip's, as in our preset": lambda: TextTokenizer.clip(LENGTH),
    "one of our own": lambda: TextTokenizer.train(TEXTS, vocab_size=300, context_length=LENGTH),
    "siglip's kind": like_siglips,
}


def small_siglip(tokenizer: TextTokenizer) -> Clip:
    """The preset ``siglip-b-16``, but small."""
    config = presets.PRESETS["siglip-b-16"].model
    small = config.text.transformer.model_copy(update={"width": 32, "num_layers": 2, "num_heads": 2})
    image = config.image.model_copy(update={"patch": 8, "transformer": small})
    text = config.text.model_copy(update={"context_length": LENGTH, "transformer": small})
    config = config.model_copy(update={"image_size": 32, "embed_dim": 32, "image": image, "text": text})
    torch.manual_seed(0)
    model = Clip(config, tokenizer.vocab_size, tokenizer.end_id)
    return perturbed(model)  # pyright: ignore[reportReturnType]


@pytest.fixture(params=TOKENIZERS)
def exported(request, tmp_path) -> tuple[Clip, TextTokenizer, Path]:
    """Through the verb: a run, and what `calligram export` makes of it."""
    tokenizer = TOKENIZERS[request.param]()
    model = small_siglip(tokenizer)
    save_model(model, tokenizer, tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--format", "hf", "--out", str(tmp_path / "hf")]) == 0
    return model, tokenizer, tmp_path / "hf"


def padded(tokenizer, texts: list[str]) -> torch.Tensor:
    """As transformers' page on SigLIP tells its users to."""
    return tokenizer(text=texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]


def test_transformers_reads_the_model(exported):
    model, tokenizer, folder = exported
    back = SiglipModel.from_pretrained(folder)
    assert isinstance(AutoModel.from_pretrained(folder), SiglipModel)
    assert max(differences(model, back.eval(), tokenizer(TEXTS))) < CLOSE


def test_the_ids_in_the_folder_are_ours(exported):
    _, tokenizer, folder = exported
    ours = tokenizer(TEXTS)
    assert torch.equal(padded(AutoTokenizer.from_pretrained(folder), TEXTS), ours)
    for processor in (AutoProcessor.from_pretrained(folder), SiglipProcessor.from_pretrained(folder)):
        assert isinstance(processor, SiglipProcessor)
        assert torch.equal(padded(processor, TEXTS), ours)


def test_the_processor_makes_our_pixels_and_a_user_of_theirs_our_probabilities(exported):
    folder = exported[2]
    noise = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((90, 60), Image.Resampling.BICUBIC)
    processor, back = AutoProcessor.from_pretrained(folder), SiglipModel.from_pretrained(folder).eval()
    found = processor(text=TEXTS, images=image, padding="max_length", truncation=True, return_tensors="pt")
    clip = load_clip(folder)
    ours = (clip.prepare(image) / 255 - 0.5) / 0.5
    assert (found["pixel_values"][0] - ours).abs().max() <= 1.01 / 255 / 0.5
    with torch.no_grad():
        theirs = back(**found)
    assert torch.allclose(theirs.text_embeds, clip.embed_texts(TEXTS, strict=False), atol=1e-5)
    assert torch.allclose(theirs.image_embeds, clip.embed_images([image]), atol=0.02)  # the pixels differ by a step


def test_we_read_it_back_with_the_same_words(exported):
    """Also where Python mends a text, and where a vocabulary has punctuation that SigLIP's would lose."""
    model, tokenizer, folder = exported
    texts = [*TEXTS, "caf&eacute; &amp; faÃ§ade!", "a_b (c)"]
    again = load_clip(folder)
    assert torch.equal(again.tokenizer(texts), tokenizer(texts))
    state = again.model.state_dict()
    assert all(torch.equal(state[name], x) for name, x in model.state_dict().items())


def test_a_text_of_nothing_but_the_padding_token_is_all_that_is_misread(tmp_path):
    tokenizer = TextTokenizer.clip(LENGTH)
    export_hf(small_siglip(tokenizer), tokenizer, tmp_path / "hf")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    texts = ["!", " !", "! !", "a!", "!a", "?!"]
    same = [torch.equal(a, b) for a, b in zip(padded(theirs, texts), tokenizer(texts), strict=True)]
    assert same == [False, True, True, True, True, True]
