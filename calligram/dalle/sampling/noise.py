"""The randomness of pictures: one generator each, so that none depends on the others of its batch.

# B pictures, N image tokens
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def draw_noise(seeds: Sequence[int], num_tokens: int) -> Tensor:
    """Uniform numbers in [0, 1), a row a picture, each row from a generator of its own: (B, N) in fp64."""
    rows = [torch.rand(num_tokens, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
    return torch.stack(rows)
