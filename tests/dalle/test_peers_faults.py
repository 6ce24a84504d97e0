"""Faults of other libraries' decoders, each with a test that it is not ours.

LlamaGen's rotary positions: tests/nn/test_rotary.py. The null half of guidance: test_decoders.py.
"""

import torch

from calligram.dalle.model import Dalle, DalleConfig
from calligram.dalle.task import DalleLossConfig, DalleTask
from calligram.nn.llama import LlamaConfig

GROUPED = LlamaConfig(width=32, num_layers=2, num_heads=4, num_kv_heads=1)


def grouped() -> Dalle:
    torch.manual_seed(0)
    return Dalle(DalleConfig(text_length=6, transformer=GROUPED), 11, 13, 4, end_id=2).eval()


@torch.no_grad()
def test_llamagen_kv_cache_breaks_grouped_queries(text, larger_pictures):
    """Its cache has the shape of the queries' heads; ours that of the groups, a quarter of the memory."""
    model = grouped()
    cache = model.new_cache(3)
    assert cache.keys_LBNHK.shape == (2, 3, 6 + 15, 1, 8)
    logits = [model.prefill(text, cache)]
    logits += [model.step(larger_pictures[:, : i + 1], cache) for i in range(15)]
    torch.testing.assert_close(torch.stack(logits, 1), model(text, larger_pictures)[1], atol=1e-5, rtol=1e-5)


def test_llamagen_teacher_forcing_crashes_in_evaluation(text, larger_pictures):
    task = DalleTask(grouped(), DalleLossConfig(drop_caption=0.0))
    batch = {"text": text, "image_tokens": larger_pictures}
    torch.testing.assert_close(task.eval()(batch)[0], task.train()(batch)[0])


@torch.no_grad()
def test_mindalle_copies_every_cache_at_every_step(text, larger_pictures):
    """What a step reads lies where the first one put it, in memory that was allocated once."""
    model = grouped()
    cache = model.new_cache(3)
    places = cache.keys_LBNHK.data_ptr(), cache.values_LBNHK.data_ptr()
    model.prefill(text, cache)
    before = cache.keys_LBNHK[:, :, :6].clone()
    for i in range(15):
        model.step(larger_pictures[:, : i + 1], cache)
    assert places == (cache.keys_LBNHK.data_ptr(), cache.values_LBNHK.data_ptr())
    assert torch.equal(cache.keys_LBNHK[:, :, :6], before) and cache.length == 21


@torch.no_grad()
def test_dalle_pytorch_zeroes_the_callers_prompt(text, larger_pictures):
    kept = text.clone()
    model = grouped()
    assert not torch.equal(model.drop_text(text), text)
    model(model.drop_text(text), larger_pictures)
    DalleTask(model, DalleLossConfig(drop_caption=1.0)).train()({"text": text, "image_tokens": larger_pictures})
    assert torch.equal(text, kept)


@torch.no_grad()
def test_dalle_pytorch_counts_words_among_image_tokens(text, larger_pictures):
    """Its logits are over both vocabularies, so that a share of them to keep is no filter at all."""
    text_logits, image_logits = grouped()(text, larger_pictures)
    assert text_logits.shape[-1] == 11 and image_logits.shape[-1] == 13
