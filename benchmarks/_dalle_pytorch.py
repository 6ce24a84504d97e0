"""DALLE-pytorch's sampler as a peer of ``generate.py``, where it can be imported.

Not in the extra ``bench``: what it requires drags in old libraries, some of which no longer build. Without them, and in
a folder of its own, so that nothing that is installed changes:

    pip install --no-deps --target FOLDER dalle-pytorch axial-positional-embedding rotary-embedding-torch \\
        omegaconf "setuptools<81"
    PYTHONPATH=FOLDER python benchmarks/generate.py

Its sampler is its own, all of it, drawn from by ``generate_images`` without guidance. taming-transformers, whose VQGAN
it imports though its DiscreteVAE is used, wants a pytorch-lightning too old for today's torch: empty classes stand in.
Released, ``forward_with_cond_scale`` drops the cache where the scale is 1, so that each token reads all before it anew
(with a scale the cache is kept, but shared with the empty text, which makes the pictures wrong). Hence two peers: as it
was released, and with that one line mended, which gives it the cache that it was meant to have.
"""

import importlib
import sys
import types
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# T text tokens, I image tokens drawn so far, B batch

PACKAGES = 'dalle-pytorch axial-positional-embedding rotary-embedding-torch omegaconf "setuptools<81"'
INSTALL = f"pip install --no-deps --target FOLDER {PACKAGES}, then PYTHONPATH=FOLDER"
TOP_K = 50  # what transformers' `generate` keeps, too; it is quicker than the whole vocabulary
LAYERS = (
    6  # with width 512 and one table for inputs and outputs 30.5M parameters; the width of its MLP cannot be chosen
)


@dataclass(frozen=True)
class DallePytorch:
    """Its model in one precision. ``model`` has the cache mended, or is as released."""

    model: Any
    dtype: str
    cached: bool

    @property
    def name(self) -> str:
        cache = "cache mended" if self.cached else "no cache, as released"
        return f"DALLE-pytorch {version()}, {self.dtype}, {cache}, VQGAN left out"

    def draw(self, text_BT: Tensor, number: int) -> Tensor:
        """The first ``number`` codes of each picture, (B, number); its loop takes its length from this attribute."""
        self.model.image_seq_len = number
        # it counts k as a share of both vocabularies; half a token more, so that rounding does not take one off
        thres = 1 - (TOP_K + 0.5) / self.model.total_tokens
        return self.model.generate_images(text_BT, filter_thres=thres, use_cache=True)


def load() -> Any | None:
    """Its package, or None and a line on stderr that tells how to get it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pkg_resources, which it imports, says that it is old
            return _import_without_vqgan()
    except ImportError as error:
        print(f"DALLE-pytorch is left out ({error}). To have it: {INSTALL}", file=sys.stderr)
        return None


def _import_without_vqgan() -> Any:
    vqgan = types.ModuleType("taming.models.vqgan")
    for name in ("VQModel", "GumbelVQ"):
        setattr(vqgan, name, type(name, (), {}))
    stand_ins = {name: types.ModuleType(name) for name in ("taming", "taming.models")} | {vqgan.__name__: vqgan}
    before = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        return importlib.import_module("dalle_pytorch")
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def version() -> str:
    return importlib.import_module("dalle_pytorch.version").__version__


def build(package: Any, *, text: int, grid: int, words: int, codes: int, width: int, heads: int, cached: bool) -> Any:
    """Its DALLE with random weights and full attention; its DiscreteVAE hands out the codes, which costs nothing."""

    class Codes(package.DiscreteVAE):
        def decode(self, img_seq: Tensor) -> Tensor:
            return img_seq

    class Mended(package.DALLE):
        def forward_with_cond_scale(
            self, *args: Any, cond_scale: float = 1, cache: Any = None, **kwargs: Any
        ) -> Tensor:
            assert cond_scale == 1
            return self(*args, cache=cache, **kwargs)

    torch.manual_seed(0)
    vae = Codes(image_size=2 * grid, num_layers=1, num_tokens=codes, codebook_dim=8, hidden_dim=8)
    made = (Mended if cached else package.DALLE)(
        dim=width, vae=vae, num_text_tokens=words, text_seq_len=text, depth=LAYERS, heads=heads,
        dim_head=width // heads, attn_types=("full",), share_input_output_emb=True,
    )  # fmt: skip
    return made.eval().requires_grad_(False)


def peers(package: Any, **sizes: int) -> list[DallePytorch]:
    """With the cache, in fp32 and bf16; last as released, in fp32."""
    return [
        DallePytorch(build(package, cached=True, **sizes), "fp32", True),
        DallePytorch(build(package, cached=True, **sizes).to(torch.bfloat16), "bf16", True),
        DallePytorch(build(package, cached=False, **sizes), "fp32", False),
    ]


@torch.inference_mode()
def check_cache(peer: DallePytorch, text_BT: Tensor, codes_BI: Tensor) -> float:
    """The mended cache changes no logits: the largest difference from reading all at once."""
    model, cache = peer.model, {}
    together = model(text_BT, codes_BI)[:, text_BT.shape[1] :]
    steps = [model(text_BT, codes_BI[:, :i], cache=cache)[:, -1:] for i in range(codes_BI.shape[1] + 1)]
    first = model.num_text_tokens
    worst = float((torch.cat(steps, 1) - together)[..., first:].abs().max())
    assert worst < 1e-4, f"the cache changes the logits by {worst:.1e}"
    return worst
