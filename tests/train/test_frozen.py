"""Parts that stay as they are, and blocks that are computed twice."""

import pytest
import torch
from torch import nn

from calligram.clip.model import Clip, ClipConfig
from calligram.clip.task import ClipTask
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.errors import UserError
from calligram.nn.transformer import TransformerConfig
from calligram.train.frozen import freeze, rest
from calligram.train.recompute import recompute_blocks
from calligram.train.sharding import blocks_of


def clip(dropout: float = 0.0) -> Clip:
    torch.manual_seed(0)
    small = TransformerConfig(width=8, num_layers=2, num_heads=2, dropout=dropout)
    image = ViTConfig(patch=4, stem=(4,), stem_blocks=1, transformer=small)
    return Clip(ClipConfig(image_size=8, embed_dim=8, image=image, text=TextTowerConfig(transformer=small)), 10, 2)


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return {"image": images, "text": torch.tensor([[1, n, 2, 0] for n in range(3, 9)])}


def test_a_frozen_tower_has_no_gradient_and_rests():
    """LiT: the picture's tower stays, its dropout and its BatchNorms with it."""
    model = clip(dropout=0.5)
    freeze(model, ["visual", "visual_projection"])
    rest(model.train())
    before = {name: x.clone() for name, x in model.visual.state_dict().items()}
    loss, _ = ClipTask(model)(batch())
    loss.backward()
    frozen = {name for name, p in model.named_parameters() if p.grad is None}
    assert frozen == {name for name, _ in model.named_parameters() if name.startswith("visual")}
    assert all(torch.equal(x, before[name]) for name, x in model.visual.state_dict().items())
    assert not model.visual.training and model.text.training


def test_patterns_name_single_parameters_too():
    model = clip()
    freeze(model, ["text.*.norm*.weight", "logit_scale"])
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert "logit_scale" in frozen and "text.transformer.norm.weight" in frozen
    assert all(name.startswith("text.") or name == "logit_scale" for name in frozen)


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["visuall"], "--train.freeze visuall names no part of the model; did you mean visual"),
        (["xyz"], "--train.freeze xyz names no part of the model; there are: logit_scale, text"),
        (["*"], "leaves nothing to train: freeze less"),
    ],
)
def test_wrong_patterns(patterns, said):
    with pytest.raises(UserError, match=said.replace("*", r"\*")):
        freeze(clip(), patterns)


def gradients(task: nn.Module) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    task(batch())[0].backward()
    return {name: p.grad for name, p in task.named_parameters() if p.grad is not None}


def test_recomputed_blocks_have_the_same_gradients_also_with_dropout():
    plain, thrifty = ClipTask(clip(0.3)).train(), ClipTask(clip(0.3)).train()
    assert recompute_blocks(thrifty) == 4
    ours, theirs = gradients(thrifty), gradients(plain)
    assert ours.keys() == theirs.keys() and thrifty.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(x, theirs[name]) for name, x in ours.items())


def test_recomputed_blocks_keep_less():
    def kept(recompute: bool) -> int:
        """Bytes that are held for the backward pass."""
        torch.manual_seed(0)
        task = ClipTask(clip()).train()
        if recompute:
            recompute_blocks(task)
        for block in blocks_of(task):
            block.frugal = False  # whose hooks would hide from ours what they keep
        seen = {}

        def pack(x):
            seen[x.data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            task(batch())
        return sum(seen.values())

    assert kept(True) < 0.6 * kept(False)
