"""Today's decoder, read by transformers: equal logits, and equal tokens drawn."""

import pytest
import torch
import transformers

from calligram.cli.main import main
from calligram.dalle.hf import JointVocabulary, check_exportable, export_hf, joint_inputs, to_hf
from calligram.dalle.model import Dalle, DalleConfig
from calligram.errors import UserError
from calligram.nn.decoder import PlainConfig
from calligram.nn.llama import LlamaConfig
from calligram.tokenizers.text import TextTokenizer

CASES = [
    ("1d", False, "padded", "tied", "LlamaForCausalLM"),
    ("1d", False, "packed", "own", "LlamaForCausalLM"),
    ("1d", True, "padded", "own", "Qwen3ForCausalLM"),
    ("1d", True, "packed", "tied", "Qwen3ForCausalLM"),
    ("2d", True, "padded", "tied", "Qwen3VLForConditionalGeneration"),
    ("2d", True, "packed", "own", "Qwen3VLForConditionalGeneration"),
]


def make(rotary="1d", qk_norm=False, text="padded", heads="tied", **others) -> Dalle:
    torch.manual_seed(0)
    size = LlamaConfig(width=64, num_layers=2, num_heads=4, num_kv_heads=2, rotary=rotary, qk_norm=qk_norm)
    config = DalleConfig(text_length=6, text=text, heads=heads, transformer=size, **{"neighbours": False, **others})
    model = Dalle(config, text_vocab_size=11, image_vocab_size=13, grid=4, end_id=2).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.requires_grad_(False)


@pytest.mark.parametrize(("rotary", "qk_norm", "text_kind", "heads", "name"), CASES)
@torch.no_grad()
def test_logits_are_equal(rotary, qk_norm, text_kind, heads, name, text, larger_pictures, tmp_path):
    model = make(rotary, qk_norm, text_kind, heads)
    tokenizer = TextTokenizer.train(["a red square"], vocab_size=300, context_length=6)
    export_hf(model, tokenizer, tmp_path / "theirs")
    theirs = getattr(transformers, name).from_pretrained(tmp_path / "theirs").eval()
    first = JointVocabulary.of(model).first_image_row
    logits = theirs(**joint_inputs(model, text, larger_pictures[:, :-1])).logits
    text_logits, image_logits = model(text, larger_pictures)
    torch.testing.assert_close(logits[:, 5:, first:], image_logits, atol=1e-5, rtol=1e-5)
    for row, length in enumerate(model.text_lengths(text).tolist()):
        start = 6 - length if model.packed else 0
        said = logits[row, start : start + length - 1, :11]
        torch.testing.assert_close(said, text_logits[row, : length - 1], atol=1e-5, rtol=1e-5)
    assert theirs.config.calligram == {
        "num_words": 11,
        "num_pads": 0 if model.packed else 6,
        "num_image_tokens": 13,
        "text_length": 6,
        "grid": 4,
    }


@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: "-".join(map(str, case[:4])))
@torch.no_grad()
def test_their_generate_draws_our_tokens(case, text):
    model = make(*case[:4])
    inputs = joint_inputs(model, text)
    del inputs["position_ids"]  # in one dimension they find them out themselves
    drawn = to_hf(model).generate(**inputs, do_sample=False)[:, 6:] - JointVocabulary.of(model).first_image_row
    cache, ours = model.new_cache(3), torch.empty(3, 0, dtype=torch.long)
    logits = model.prefill(text, cache)
    while ours.shape[1] < 16:
        ours = torch.cat([ours, logits.argmax(-1, keepdim=True)], 1)
        if ours.shape[1] < 16:
            logits = model.step(ours, cache)
    assert torch.equal(drawn, ours)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: make(neighbours=True), "--model.no-neighbours"),
        (lambda: make(token_shift=2, neighbours=True), "--model.token-shift 0 and --model.no-neighbours"),
        (lambda: make("2d", False), "--model.transformer.qk-norm, or --model.transformer.rotary 1d"),
        (
            lambda: Dalle(DalleConfig(transformer=PlainConfig(width=16, num_heads=2)), 11, 13, 2, 2),
            "only one that was trained with --model.transformer.type llama",
        ),
        (
            lambda: Dalle(
                DalleConfig(
                    neighbours=False, transformer=LlamaConfig(width=16, num_heads=2, attention="row", rotary="1d")
                ),
                *(11, 13, 2, 2),
            ),
            "--model.transformer.attention full",
        ),
    ],
)
def test_what_has_no_place_there_is_refused(model, said):
    with pytest.raises(UserError, match=said):
        check_exportable(model())


def test_the_verb_tells_a_dalle_from_a_clip(tiny_runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(tiny_runs.dalle), "--format", "onnx", "--out", str(out)]) == 2
    assert "is a DALL-E: give --format hf" in capsys.readouterr().err
    assert main(["export", str(tiny_runs.tokenizer), "--format", "hf", "--out", str(out)]) == 2
    assert "is a tokenizer run, but a clip or dalle run is needed here" in capsys.readouterr().err
    assert main(["export", str(tiny_runs.dalle), "--format", "hf", "--out", str(out)]) == 2
    assert (
        "only one that was trained with --model.transformer.type llama" in capsys.readouterr().err and not out.exists()
    )
