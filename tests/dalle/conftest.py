import pytest
import torch

from calligram.dalle.model import Dalle, DalleConfig
from calligram.nn.transformer import TransformerConfig

CONFIG = DalleConfig(text_length=6, transformer=TransformerConfig(width=32, num_layers=2, num_heads=4))


@pytest.fixture(scope="session", params=[0, 2], ids=["plain", "token-shift"])
def dalle(request) -> Dalle:
    """11 words, 13 image tokens, 3 × 3 of them a picture; random weights, wide enough to make clear choices."""
    torch.manual_seed(0)
    config = CONFIG.model_copy(update={"token_shift": request.param})
    model = Dalle(config, text_vocab_size=11, image_vocab_size=13, grid=3, end_id=2).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model.requires_grad_(False)


@pytest.fixture
def text() -> torch.Tensor:
    """Three texts: start 1, words, end 2, pads 0."""
    return torch.tensor([[1, 5, 6, 2, 0, 0], [1, 7, 2, 0, 0, 0], [1, 8, 9, 10, 3, 2]])


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(0, 13, (3, 9), generator=torch.Generator().manual_seed(3))
