"""A CLIP beside its teacher: what the teacher reads, what is learnt from it, and what of it is nowhere to be found."""

import pytest
import torch
from open_clip.loss import DistillClipLoss
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from calligram.clip.losses.config import SigmoidConfig, SoftmaxConfig
from calligram.clip.model import Clip, ClipConfig
from calligram.clip.task import ClipTask
from calligram.clip.teacher import IDS, Teacher, resize
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.text import TextTokenizer

CAPTIONS = ["a red circle", "a blue square above a star", "a ring", "a ring", "small stars"]
WRONG = ["a blue circle", "a red square above a star", "a star", "a square", "large stars"]
WORDS = TextTokenizer.train(CAPTIONS, 300, 32)


def clip(words: TextTokenizer, image_size: int = 8, seed: int = 0, **options) -> Clip:
    torch.manual_seed(seed)
    size = TransformerConfig(width=16, num_layers=1, num_heads=2, dropout=0.3)
    image = ViTConfig(patch=4, transformer=size)
    text = TextTowerConfig(context_length=words.context_length, transformer=size)
    config = ClipConfig(image_size=image_size, embed_dim=12, image=image, text=text, **options)
    return Clip(config, words.vocab_size, words.end_id)


def batch(others: TextTokenizer | None = None, negatives: bool = False) -> dict[str, torch.Tensor]:
    images = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = {"image": images, "text": WORDS(CAPTIONS)}
    found |= {IDS: others(CAPTIONS)} if others else {}
    return found | ({"negative_text": WORDS(WRONG)} if negatives else {})


@pytest.mark.parametrize("size", [4, 6, 12])
def test_pictures_of_another_size_are_those_of_torchvision(size):
    images = batch()["image"]
    mild = 100 + images // 5  # whose edges go beyond 0 … 255 nowhere, which theirs cuts off between its two passes
    expected = functional.resize(mild, [size, size], interpolation=InterpolationMode.BICUBIC, antialias=True)
    assert (resize(mild, size) * 255 - expected).abs().max() < 1.01  # theirs is rounded in each
    assert resize(images, size).min() >= 0 and resize(images, size).max() <= 1
    assert resize(images, 8) is images


@pytest.mark.parametrize("loss", [SoftmaxConfig(), SigmoidConfig()])
@pytest.mark.parametrize("negatives", [False, True])
def test_its_loss_over_the_true_pairs_is_added(loss, negatives):
    bias = {"init_bias": -3.0} if loss.type == "sigmoid" else {}
    student, theirs = clip(WORDS, **bias).eval(), clip(WORDS, seed=1, init_scale=30.0)
    task = ClipTask(student, loss, teacher=Teacher(theirs, WORDS, WORDS, weight=2.5))
    total, metrics = task(batch(negatives=negatives))
    alone, _ = ClipTask(student, loss)(batch(negatives=negatives))
    sides = [
        (model.encode_image(batch()["image"]), model.encode_text(batch()["text"]), model.scale())
        for model in (student, theirs.eval())
    ]
    _, expected = DistillClipLoss()(*sides[0], *sides[1])
    torch.testing.assert_close(metrics["distillation_loss"], expected.detach(), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(total, alone + 2.5 * expected, atol=1e-5, rtol=1e-6)
    gradients = [torch.autograd.grad(x, [*student.parameters()]) for x in (total, alone + 2.5 * expected)]
    for ours, by_hand in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, by_hand, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("theirs", [TextTokenizer.clip(20), TextTokenizer.train(CAPTIONS, 300, 50)])
def test_it_reads_captions_as_its_own_tokenizer_would(theirs):
    """In words of its own that came along, or in the student's, made as long as it wants them."""
    model = clip(theirs, image_size=12)
    teacher = Teacher(model, theirs, WORDS)
    assert teacher.shares_words == (theirs.vocab_size < 400)
    found = teacher.embed(batch(None if teacher.shares_words else theirs))
    torch.testing.assert_close(found["teacher_text"], model.encode_text(theirs(CAPTIONS)))
    torch.testing.assert_close(found["teacher_image"], model.encode_image(resize(batch()["image"], 12)))
    assert found["teacher_text"].shape == (5, 12)


def test_a_text_tower_that_reads_its_padding_has_it():
    long = TextTokenizer.train(CAPTIONS, 300, 50)
    model = clip(long)
    text = model.config.text.model_copy(update={"causal": False, "pool": "last"})
    model = Clip(model.config.model_copy(update={"text": text}), long.vocab_size, long.end_id)
    found = Teacher(model, long, WORDS).embed(batch())["teacher_text"]
    torch.testing.assert_close(found, model.encode_text(long(CAPTIONS)))


def test_nothing_of_it_is_in_the_task():
    theirs = clip(WORDS, seed=1)
    task, plain = ClipTask(clip(WORDS), teacher=Teacher(theirs, WORDS, WORDS)), ClipTask(clip(WORDS))
    assert task.state_dict().keys() == plain.state_dict().keys()
    assert len([*task.parameters()]) == len([*plain.parameters()]) and theirs not in [*task.modules()]
    task.train()
    assert not theirs.training
    task(batch())[0].backward()
    assert all(p.grad is None and not p.requires_grad for p in theirs.parameters())
    assert all(p.grad is not None for p in task.parameters())


def test_its_batch_norms_stay_as_they_are():
    config = clip(WORDS).config
    image = config.image.model_copy(update={"stem": (4,)})
    theirs = Clip(config.model_copy(update={"image": image}), WORDS.vocab_size, WORDS.end_id).train()
    before = {name: x.clone() for name, x in theirs.state_dict().items()}
    ClipTask(clip(WORDS), teacher=Teacher(theirs, WORDS, WORDS)).train()(batch())[0].backward()
    assert all(torch.equal(x, before[name]) for name, x in theirs.state_dict().items())


def test_it_draws_no_random_numbers():
    """What the student drops out is the same with and without."""
    features = []
    for teacher in (None, Teacher(clip(WORDS, seed=1), WORDS, WORDS)):
        task = ClipTask(clip(WORDS), teacher=teacher).train()
        torch.manual_seed(3)
        task(batch())
        features.append(torch.rand(4))
    assert torch.equal(*features)
