import math

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from calligram.clip.losses.config import SigmoidConfig, SoftmaxConfig
from calligram.clip.task import ClipTask


def unit(rows: int, seed: int, width: int = 8) -> torch.Tensor:
    x = torch.randn(rows, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.normalize(x, dim=-1).requires_grad_()


class Tables(nn.Module):
    """Stands in for a CLIP: a picture is its own embedding, a text's is looked up by its one id."""

    def __init__(self, texts: torch.Tensor, scale: float):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale), dtype=torch.float64))
        self.texts = texts

    def encode_image(self, images):
        return images

    def encode_text(self, ids):
        return self.texts[ids[:, 0]]

    def scale(self):
        return self.logit_scale.exp()


def task_loss(image, texts, ids, scale=10.0):
    """Loss and metrics where picture i has the caption ids[i]."""
    return ClipTask(Tables(texts, scale))({"image": image, "text": torch.tensor([[i] for i in ids])})


def clip_loss(image, text, scale=10.0):
    """CLIP's two-way cross-entropy, row i with row i."""
    logits, target = scale * image @ text.T, torch.arange(len(image))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 5], [5, 2, 0, 1, 3, 4]])
def test_it_is_clips_two_way_cross_entropy_where_no_caption_repeats(ids):
    image, texts = unit(6, 0), unit(6, 1)
    loss, _ = task_loss(image, texts, ids)
    expected = clip_loss(image, texts[ids])
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, [image, texts]), torch.autograd.grad(expected, [image, texts]), atol=1e-12, rtol=1e-9
    )


def test_it_agrees_with_open_clip():
    image, texts = unit(7, 0).float(), unit(7, 1).float()
    loss, _ = task_loss(image, texts, range(7))
    expected = open_clip.ClipLoss()(image, texts, torch.tensor(10.0))
    torch.testing.assert_close(loss.float(), expected, atol=1e-6, rtol=0)


def test_equal_captions_are_not_pushed_apart():
    """Three pictures at the embedding of their one caption, a fourth pair opposite: nothing is left to gain."""
    east = F.one_hot(torch.tensor([0]), 8).double()
    texts = torch.cat([east, -east]).requires_grad_()
    image = torch.cat([east, east, east, -east]).requires_grad_()
    loss, _ = task_loss(image, texts, [0, 0, 0, 1], scale=100)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    for gradient in torch.autograd.grad(loss, [image, texts]):
        assert gradient.abs().max() < 1e-6
    # CLIP's own loss counts the two other copies as wrong
    assert clip_loss(image, texts[[0, 0, 0, 1]], scale=100).item() == pytest.approx(3 / 4 * math.log(3), abs=1e-6)


def test_a_batch_of_one_caption_teaches_nothing_and_breaks_nothing():
    image, texts = unit(4, 0), unit(1, 1)
    loss, _ = task_loss(image, texts, [0, 0, 0, 0])
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, [image, texts]):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_order_of_the_batch_does_not_matter():
    image, texts = unit(5, 0), unit(7, 1)
    ids, order = [4, 4, 5, 6, 5], [3, 0, 4, 2, 1]
    loss, metrics = task_loss(image, texts, ids)
    permuted, permuted_metrics = task_loss(image[order], texts, [ids[i] for i in order])
    torch.testing.assert_close(loss, permuted)
    assert metrics["batch_accuracy"] == permuted_metrics["batch_accuracy"]


def test_batch_accuracy_counts_every_copy_of_the_right_caption():
    # the nearest text of pictures 0 … 3 is caption 0, 0, 2, 1; argmax takes the first copy
    texts, image = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)[[0, 0, 2, 1]]
    assert task_loss(image, texts, [0, 0, 2, 1])[1]["batch_accuracy"] == 1
    assert task_loss(image, texts, [0, 1, 2, 0])[1]["batch_accuracy"] == pytest.approx(0.5)


def test_a_picture_must_find_its_caption_among_negatives_too():
    """Picture → text: cross-entropy over captions and negatives. Text → picture: as without them."""
    image, texts = unit(4, 0), unit(8, 1)
    batch = {"image": image, "text": torch.arange(4)[:, None], "negative_text": torch.arange(4, 8)[:, None]}
    loss, metrics = ClipTask(Tables(texts, 10.0))(batch)
    logits, target = 10 * image @ texts.T, torch.arange(4)
    expected = (F.cross_entropy(logits, target) + F.cross_entropy(logits[:, :4].T, target)) / 2
    torch.testing.assert_close(loss, expected)
    assert metrics["batch_accuracy"] == (logits.argmax(1) == target).float().mean()


def test_a_negative_that_is_the_caption_of_another_picture_is_right_there():
    image, texts = unit(2, 0), unit(2, 1)
    batch = {"image": image, "text": torch.tensor([[0], [1]]), "negative_text": torch.tensor([[1], [0]])}
    logits = 10 * image @ texts.T
    # two equal positives, each against two equal negatives
    p, n = logits.diagonal(), logits.flip(1).diagonal()
    expected = (F.softplus(n + math.log(2) - p).mean() - torch.log_softmax(logits, 0).diagonal().mean()) / 2
    torch.testing.assert_close(ClipTask(Tables(texts, 10.0))(batch)[0], expected)


def test_one_copy_of_a_caption_may_be_the_only_right_one():
    image, texts = unit(4, 0), unit(2, 1)
    ids = [0, 1, 0, 0]
    task = ClipTask(Tables(texts, 10.0), SoftmaxConfig(positives="own"))
    loss, _ = task({"image": image, "text": torch.tensor(ids)[:, None]})
    torch.testing.assert_close(loss, clip_loss(image, texts[ids]))


def test_the_sigmoid_loss_learns_a_bias():
    image, texts, ids = unit(4, 0), unit(2, 1), torch.tensor([0, 1, 0, 0])
    model = Tables(texts, 10.0)
    model.logit_bias = nn.Parameter(torch.tensor(-3.0, dtype=torch.float64))
    for positives, right in (("equal", ids[:, None] == ids), ("own", torch.eye(4, dtype=torch.bool))):
        loss, metrics = ClipTask(model, SigmoidConfig(positives=positives))({"image": image, "text": ids[:, None]})
        expected = F.binary_cross_entropy_with_logits(10 * image @ texts[ids].T - 3, right.double(), reduction="sum")
        torch.testing.assert_close(loss, expected / 4)
        (gradient,) = torch.autograd.grad(loss, model.logit_bias)
        assert gradient != 0 and metrics["logit_bias"] == -3 and metrics["logit_scale"] == pytest.approx(10)
