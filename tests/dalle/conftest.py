import itertools

import pytest
import torch

from calligram.dalle.model import Dalle, DalleConfig
from calligram.nn.decoder import PlainConfig
from calligram.nn.llama import LlamaConfig

CONFIG = DalleConfig(text_length=6, transformer=PlainConfig(width=32, num_layers=2, num_heads=4))
LLAMA = LlamaConfig(width=32, num_layers=2, num_heads=4)
KINDS = ("full", "row", "column", "convolution", "paper")


def make(config: DalleConfig, grid: int = 3) -> Dalle:
    """11 words, 13 image tokens; random weights, wide enough to make clear choices."""
    torch.manual_seed(0)
    model = Dalle(config, text_vocab_size=11, image_vocab_size=13, grid=grid, end_id=2).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.requires_grad_(False)


@pytest.fixture(scope="session", params=[0, 2], ids=["plain", "token-shift"])
def dalle(request) -> Dalle:
    """3 × 3 image tokens a picture."""
    return make(CONFIG.model_copy(update={"token_shift": request.param}))


def every_decoder() -> list[DalleConfig]:
    """Both Transformers with each kind of attention and both ways to lay out text; options as they come by turns."""
    found = []
    for number, (text, attention) in enumerate(itertools.product(("padded", "packed"), KINDS)):
        options = {"text": text, "token_shift": number % 3, "neighbours": number % 2 == 0}
        plain = PlainConfig(width=32, num_layers=3, num_heads=4, attention=attention, kernel=3)
        groups = {"num_kv_heads": (1, 2, 4)[number % 3], "qk_norm": number % 2 == 1}
        llama = LlamaConfig(
            width=32,
            num_layers=3,
            num_heads=4,
            attention=attention,
            kernel=3,
            rotary=("1d", "2d")[number % 2],
            **groups,
        )
        heads = ("tied", "own")[number % 2]
        found += [DalleConfig(text_length=6, transformer=t, heads=heads, **options) for t in (plain, llama)]
    return found


@pytest.fixture(
    scope="session", params=every_decoder(), ids=lambda c: f"{c.text}-{c.transformer.type}-{c.transformer.attention}"
)
def decoder(request) -> Dalle:
    """4 × 4 image tokens a picture."""
    return make(request.param, grid=4)


@pytest.fixture
def text() -> torch.Tensor:
    """Three texts: start 1, words, end 2, pads 0."""
    return torch.tensor([[1, 5, 6, 2, 0, 0], [1, 7, 2, 0, 0, 0], [1, 8, 9, 10, 3, 2]])


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(0, 13, (3, 9), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def larger_pictures() -> torch.Tensor:
    return torch.randint(0, 13, (3, 16), generator=torch.Generator().manual_seed(4))


@pytest.fixture(scope="session")
def small_dalle() -> Dalle:
    """3 image tokens, 2 × 2 of them a picture: few enough to count all 81 pictures."""
    torch.manual_seed(1)
    model = Dalle(CONFIG, text_vocab_size=11, image_vocab_size=3, grid=2, end_id=2).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.requires_grad_(False)
