"""The gradient of a batch in parts is that of the whole, also where the loss couples its samples."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from calligram.clip.model import Clip, ClipConfig
from calligram.clip.task import ClipTask
from calligram.clip.teacher import Teacher
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.dalle.model import Dalle, DalleConfig
from calligram.dalle.task import DalleLossConfig, DalleTask
from calligram.nn.transformer import TransformerConfig
from calligram.tokenizers.text import TextTokenizer
from calligram.train.backward import Backward
from calligram.train.config import TrainConfig
from calligram.train.frozen import freeze

CPU = torch.device("cpu")
DROPOUT = 0.3


def clip_task(dropout=0.0, stem=False, dtype=torch.float64, width=8, layers=2, image_size=8):
    torch.manual_seed(0)
    size = TransformerConfig(width=width, num_layers=layers, num_heads=2, dropout=dropout)
    image = ViTConfig(patch=4, stem=(4,) if stem else (), transformer=size)
    text = TextTowerConfig(context_length=6, transformer=size)
    model = Clip(ClipConfig(image_size=image_size, embed_dim=8, image=image, text=text), vocab_size=12, end_id=2)
    return ClipTask(model.to(dtype)).train()


def batch_of(size: int, negatives: bool = False, dtype=torch.float64, image_size: int = 8):
    """Captions of which some are the same, of several lengths."""
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(size, 3, image_size, image_size, dtype=dtype, generator=draw)
    texts = torch.randint(3, 12, (2, size, 6), generator=draw)
    texts[..., 0], texts[..., -1] = 1, 2
    texts[:, ::3, 3:] = torch.tensor([2, 0, 0])
    texts[0, 1::5] = texts[0, 1]
    return {"image": images, "text": texts[0]} | ({"negative_text": texts[1]} if negatives else {})


def gradients(task: nn.Module, batch, parts: int, precision: str = "fp32"):
    torch.manual_seed(7)
    values = Backward(task, TrainConfig(accumulate=parts, precision=precision), CPU)(batch)
    return values, {name: p.grad for name, p in task.named_parameters()}


@pytest.mark.parametrize("negatives", [False, True])
@pytest.mark.parametrize("parts", [2, 3, 12])
def test_the_gradient_of_every_parameter_is_that_of_the_whole_batch(parts, negatives):
    batch = batch_of(12, negatives)
    whole_values, whole = gradients(clip_task(), batch, 1)
    values, found = gradients(clip_task(), batch, parts)
    assert values.keys() == whole_values.keys()
    for name, value in whole_values.items():
        torch.testing.assert_close(values[name], value, atol=1e-12, rtol=1e-12)
    assert "model.logit_scale" in found and all(g is not None and g.abs().max() > 0 for g in found.values())
    for name, gradient in whole.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=1e-10, msg=name)


def teacher_of(task: ClipTask, dtype=torch.float64) -> Teacher:
    """One that is larger and warmer, and reads the same words."""
    own = task.model.config
    image = own.image.model_copy(update={"transformer": TransformerConfig(width=12, num_layers=1, num_heads=2)})
    torch.manual_seed(1)
    model = Clip(own.model_copy(update={"image": image, "init_scale": 40.0, "embed_dim": 6}), 12, end_id=2)
    words = TextTokenizer.train(["a"], context_length=6)
    return Teacher(model.to(dtype), words, words)


@pytest.mark.parametrize("negatives", [False, True])
@pytest.mark.parametrize("parts", [2, 3])
def test_a_teacher_teaches_the_same_in_parts_and_is_asked_once(parts, negatives, monkeypatch):
    batch, found, asked = batch_of(12, negatives), [], []
    embed = Teacher.embed
    monkeypatch.setattr(Teacher, "embed", lambda self, part: asked.append(len(part["text"])) or embed(self, part))
    for number in (1, parts):
        task = clip_task()
        plain_loss, _ = task(batch)
        task.teacher = teacher_of(task)
        values, named = gradients(task, batch, number)
        assert values["loss"] - values["distillation_loss"] == pytest.approx(float(plain_loss.detach()))
        found.append((values, named))
    assert asked == [12, *[12 // parts] * parts]
    (values, named), (values_in_parts, named_in_parts) = found
    torch.testing.assert_close(values_in_parts, values, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(named_in_parts, named, atol=1e-10, rtol=1e-10)


def test_pictures_of_several_sizes_are_taken_in_parts_too():
    batch, draw = batch_of(12), torch.Generator().manual_seed(2)
    sizes = [(8, 8), (4, 12), (12, 4), (4, 4)] * 3
    batch["image"] = [torch.rand(3, *size, generator=draw, dtype=torch.float64) for size in sizes]
    whole_values, whole = gradients(clip_task(), batch, 1)
    for parts in (2, 3):
        values, found = gradients(clip_task(), batch, parts)
        torch.testing.assert_close(values, whole_values, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(found, whole, atol=1e-12, rtol=1e-10)


def test_dropout_is_the_same_both_times():
    """Against features that are computed in the same parts, with the same noise, and kept."""
    batch, task = batch_of(12), clip_task(DROPOUT)
    torch.manual_seed(7)
    parts = [task.embed({name: x[i : i + 4] for name, x in batch.items()}) for i in (0, 4, 8)]
    loss, _ = task.compare({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    loss.backward()
    values, found = gradients(clip_task(DROPOUT), batch, 3)
    assert float(values["loss"]) == pytest.approx(float(loss.detach()), rel=1e-12)
    for name, p in task.named_parameters():
        torch.testing.assert_close(found[name], p.grad, atol=1e-12, rtol=1e-10)


def test_a_batch_norm_counts_what_it_sees_once():
    task = clip_task(stem=True)
    counted = clip_task(stem=True)
    for i in (0, 6):
        counted.embed({name: x[i : i + 6] for name, x in batch_of(12).items()})
    gradients(task, batch_of(12), 2)
    for (name, ours), theirs in zip(task.named_buffers(), counted.buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    assert any("running_mean" in name for name, _ in task.named_buffers())


def test_a_frozen_tower_stays_without_gradient():
    task, whole = clip_task(), clip_task()
    for each in (task, whole):
        freeze(each.model, ["visual", "visual_projection"])
    _, found = gradients(task, batch_of(12), 3)
    _, expected = gradients(whole, batch_of(12), 1)
    assert all((found[name] is None) == name.startswith("model.visual") for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_in_the_precision_of_the_training(precision):
    batch = batch_of(12, dtype=torch.float32)
    _, whole = gradients(clip_task(dtype=torch.float32), batch, 1, precision)
    _, found = gradients(clip_task(dtype=torch.float32), batch, 4, precision)
    for name, gradient in whole.items():
        difference = (found[name] - gradient).norm() / gradient.norm()
        assert difference < (1e-5 if precision == "fp32" else 0.05), name


@pytest.mark.parametrize("parts", [2, 3])
def test_a_word_of_a_dalle_counts_the_same_in_every_part(parts):
    """Captions of several lengths, some of them dropped."""
    torch.manual_seed(0)
    model = Dalle(DalleConfig(text_length=6, transformer=TransformerConfig(width=8, num_heads=2)), 12, 5, 2, 2).double()
    batch = {"text": batch_of(12)["text"], "image_tokens": torch.randint(0, 5, (12, 4))}
    found = []
    for number in (1, parts):
        model.zero_grad()
        values, named = gradients(DalleTask(model, DalleLossConfig(drop_caption=0.4)).train(), batch, number)
        found.append((values, {name: g.clone() for name, g in named.items()}))
    (values, named), (values_in_parts, named_in_parts) = found
    torch.testing.assert_close(values_in_parts, values, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(named_in_parts, named, atol=1e-6, rtol=1e-6)
    assert values["text_loss"] > 0


MEMORY = """
import torch
from tests.train.test_backward import batch_of, clip_task, gradients, memory_mb
torch.set_num_threads(1)
task = clip_task(dtype=torch.float32, width=128, layers=4, image_size=32)
few, batch = (batch_of(size, dtype=torch.float32, image_size=32) for size in (64, 8192))
gradients(task, few, 1)
memory_mb(reset=True)
rest, _ = memory_mb()
gradients(task, few, 1)
_, part = memory_mb(reset=True)
gradients(task, batch, 128)
_, whole = memory_mb()
print(rest, part, whole)
"""


def memory_mb(reset: bool = False) -> tuple[float, float]:
    """What this process has now, and the most that it has had since the last reset, which comes after it is read."""
    status = Path("/proc/self/status").read_text()
    found = [int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 1024 for name in ("VmRSS", "VmHWM")]
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return found[0], found[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_large_batch_in_parts_has_the_gradient_of_the_whole():
    """8,192 samples in parts of 64, the loss of all pairs and every gradient."""
    for dtype, close in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        batch = batch_of(8192, dtype=dtype)
        _, whole = gradients(clip_task(dtype=dtype), batch, 1)
        _, found = gradients(clip_task(dtype=dtype), batch, 128)
        worst = max(float((found[n] - g).norm() / g.norm()) for n, g in whole.items())
        print(f"{dtype}: largest difference of a gradient {worst:.1e}")
        assert worst < close


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_large_batch_has_the_memory_of_a_part():
    command = [sys.executable, "-c", MEMORY]
    # what is freed goes back at once: else the allocator's habits are measured, not what is in use
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    found = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split()
    rest, part, whole = map(float, found)
    features = 8192 * 2 * 8 * 4 / 2**20
    print(f"at rest {rest:.0f} MB, with 64 samples {part:.0f}, with 8,192 in parts of 64 {whole:.0f}")
    assert whole - rest <= 1.3 * (part - rest + features)
