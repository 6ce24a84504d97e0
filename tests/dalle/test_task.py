import math

import pytest
import torch
import torch.nn.functional as F

from calligram.dalle.model import Dalle
from calligram.dalle.task import DalleLossConfig, DalleTask


@pytest.fixture
def batch(text, pictures):
    return {"text": text, "image_tokens": pictures}


def test_the_loss_is_the_weighted_sum_of_both_halves(dalle, batch):
    loss, metrics = DalleTask(dalle, DalleLossConfig(text_weight=0.25, image_weight=2.0)).eval()(batch)
    text_logits, image_logits = dalle(batch["text"], batch["image_tokens"])
    log_p = text_logits.log_softmax(-1)
    # words and the end token that follow the start; pads do not count
    said = [(row, t) for row, length in enumerate([4, 3, 6]) for t in range(1, length)]
    text_loss = -torch.stack([log_p[row, t - 1, batch["text"][row, t]] for row, t in said]).mean()
    image_loss = F.cross_entropy(image_logits.transpose(1, 2), batch["image_tokens"])
    torch.testing.assert_close(metrics["text_loss"], text_loss)
    torch.testing.assert_close(metrics["image_loss"], image_loss)
    torch.testing.assert_close(metrics["bits_per_token"], image_loss / math.log(2))
    torch.testing.assert_close(loss, 0.25 * text_loss + 2.0 * image_loss)


def test_the_papers_weights_are_the_default():
    assert (DalleLossConfig().text_weight, DalleLossConfig().image_weight) == (1 / 8, 7 / 8)


def test_captions_are_dropped_in_training_only(dalle, batch, monkeypatch):
    seen = []
    task = DalleTask(dalle, DalleLossConfig(drop_caption=1.0))
    monkeypatch.setattr(dalle, "embed_text", lambda x: seen.append(x) or Dalle.embed_text(dalle, x))
    task.train()
    _, metrics = task(batch)
    assert torch.equal(seen.pop(), dalle.drop_text(batch["text"]))
    assert metrics["text_loss"] == 0, "nothing was said, so nothing counts"
    task.eval()
    task(batch)
    assert torch.equal(seen.pop(), batch["text"])


def test_a_dropped_caption_leaves_the_others_alone(dalle, batch):
    torch.manual_seed(0)
    task = DalleTask(dalle, DalleLossConfig(drop_caption=0.5)).train()
    big = {name: x.repeat(200, 1) for name, x in batch.items()}
    kept = batch["text"].clone()
    dropped = 0
    original = Dalle.embed_text
    inputs = []
    dalle.embed_text = lambda x: inputs.append(x) or original(dalle, x)
    try:
        task(big)
    finally:
        del dalle.embed_text
    dropped = (inputs[0] != big["text"]).any(1)
    assert 0.4 < dropped.float().mean() < 0.6
    assert torch.equal(inputs[0][~dropped], big["text"][~dropped])
    assert torch.equal(batch["text"], kept)


def test_every_weight_gets_a_gradient(dalle, batch):
    torch.manual_seed(0)
    model = Dalle(dalle.config, 11, 13, 3, end_id=2)
    DalleTask(model, DalleLossConfig())(batch)[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("tokens", ["text", "image"])
def test_what_is_learnt_alone_is_the_same_half_of_the_loss(dalle, batch, tokens):
    model = Dalle(dalle.config, 11, 13, 3, end_id=2).eval()
    model.load_state_dict(dalle.state_dict())
    both = DalleTask(dalle, DalleLossConfig()).eval()
    alone = DalleTask(model, DalleLossConfig(tokens=tokens))
    if tokens == "text":
        loss, metrics = alone.train()({"text": batch["text"]})
        expected = both(batch)[1]["text_loss"]
    else:
        loss, metrics = alone.train()(batch)
        expected = both({**batch, "text": model.drop_text(batch["text"])})[1]["image_loss"]
    torch.testing.assert_close(loss.detach(), expected)
    assert set(metrics) == ({"text_loss"} if tokens == "text" else {"image_loss", "bits_per_token"})


@pytest.mark.parametrize("tokens", ["text", "image"])
def test_weights_that_have_no_part_in_it_are_left_alone(dalle, batch, tokens):
    torch.manual_seed(0)
    model = Dalle(dalle.config, 11, 13, 3, end_id=2)
    task = DalleTask(model, DalleLossConfig(tokens=tokens))
    task(batch)[0].backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None or not p.grad.abs().max() > 0] == []
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert ("image_embed.weight" in frozen) == (tokens == "text") and ("text_bias" in frozen) == (tokens == "image")
