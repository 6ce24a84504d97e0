import copy
import math

import pytest
import torch
from torch import nn

from calligram.train import checkpoint
from calligram.train.checkpoint import Keep
from calligram.train.config import TrainConfig
from calligram.train.muon import RMS, orthogonalise
from calligram.train.optimizer import build_optimizer
from calligram.train.state import TrainingState


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (40, 10)])
def test_singular_values_become_about_one(shape):
    matrix = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 7
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalise(matrix)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.6 and values.max() < 1.3
    # the same singular vectors: what is left in their basis is a diagonal
    inner = u.T @ found @ vt.T
    assert (inner - inner.diag().diag()).abs().max() < 1e-3


def test_a_zero_gradient_gives_no_step():
    assert torch.equal(orthogonalise(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_a_convolution_is_the_matrix_over_its_window():
    layer = nn.Conv2d(6, 8, 3)
    model = nn.Sequential(layer)
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon", lr=0.5, weight_decay=0))
    before = layer.weight.detach().clone()
    torch.manual_seed(0)
    gradient = torch.randn_like(layer.weight)
    layer.weight.grad = gradient
    optimizer.step()
    step = (before - layer.weight).flatten(1) / (0.5 * RMS * math.sqrt(54))
    # Nesterov's first update is a multiple of the gradient
    torch.testing.assert_close(step, orthogonalise(gradient.flatten(1)), atol=1e-5, rtol=1e-3)


class Toy(nn.Module):
    """One "block" with a fused projection and a head beside it."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleDict({"qkv": nn.Linear(8, 24), "out": nn.Linear(24, 8)})
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(x + self.blocks["out"](torch.tanh(self.blocks["qkv"](x))))


def steps(model, optimizer, number, seed=0):
    g = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(number):
        x = torch.randn(32, 8, generator=g)
        loss = (model(x) - x[:, :4].sin() * x[:, 4:]).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_each_of_the_three_fused_matrices_gets_a_step_of_its_own():
    torch.manual_seed(0)
    model = Toy()
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon", lr=0.1, weight_decay=0))
    before = model.blocks["qkv"].weight.detach().clone()
    # a gradient that is a thousand times larger for the first third
    gradient = torch.randn(24, 8)
    gradient[:8] *= 1000
    model.blocks["qkv"].weight.grad = gradient
    optimizer.step()
    for part in (model.blocks["qkv"].weight - before).chunk(3):
        assert part.square().mean().sqrt().item() == pytest.approx(0.1 * RMS, rel=0.25)


def test_the_head_is_trained_as_adamw_would():
    torch.manual_seed(0)
    with_muon = Toy()
    alone = copy.deepcopy(with_muon)
    config = TrainConfig(optimizer="muon", lr=0.01)
    steps(with_muon, build_optimizer(with_muon, config), 1)
    steps(alone, build_optimizer(alone, config.model_copy(update={"optimizer": "adamw"})), 1)
    assert torch.equal(with_muon.head.weight, alone.head.weight)
    assert torch.equal(with_muon.blocks["qkv"].bias, alone.blocks["qkv"].bias)
    assert not torch.equal(with_muon.blocks["qkv"].weight, alone.blocks["qkv"].weight)


def test_it_learns():
    torch.manual_seed(0)
    model = Toy()
    losses = steps(model, build_optimizer(model, TrainConfig(optimizer="muon", lr=0.02)), 300)
    assert math.fsum(losses[-20:]) < 0.2 * math.fsum(losses[:20])


def test_a_checkpoint_brings_its_momentum_back(tmp_path):
    torch.manual_seed(0)
    model, config = Toy(), TrainConfig(optimizer="muon", lr=0.02)
    optimizer = build_optimizer(model, config)
    steps(model, optimizer, 5)
    writer = checkpoint.Writer(tmp_path, Keep(1))
    writer.save(5, TrainingState(model, optimizer))
    writer.wait()
    steps(model, optimizer, 5, seed=1)

    other = Toy()
    other_optimizer = build_optimizer(other, config)
    assert checkpoint.restore(tmp_path, TrainingState(other, other_optimizer)) == 5
    steps(other, other_optimizer, 5, seed=1)
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q), name
