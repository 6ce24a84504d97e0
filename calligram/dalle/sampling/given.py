"""Tokens that are not drawn, since the caller gives them: completing a picture.

# B pictures, N image tokens, V image vocabulary
"""

import torch
from torch import Tensor

from calligram.errors import UserError


def given_tokens(
    given_BN: Tensor | None, keep: Tensor | None, shape: tuple[int, int], vocab_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Tokens (B, N), the kept ones in place and zeros elsewhere, and which are kept (B, N); new memory, both.

    Raises UserError where the two do not fit the pictures or an id is no image token.
    """
    tokens_BN = torch.zeros(shape, dtype=torch.long, device=device)
    keep_BN = torch.zeros(shape, dtype=torch.bool, device=device)
    if given_BN is None and keep is None:
        return tokens_BN, keep_BN
    if given_BN is None or keep is None:
        raise UserError("given tokens and the mask of which to keep go together: give both or neither")
    if tuple(given_BN.shape) != shape or tuple(keep.shape) not in (shape, shape[1:]):
        raise UserError(
            f"given tokens {tuple(given_BN.shape)} and keep {tuple(keep.shape)} do not fit {shape[0]} pictures of "
            f"{shape[1]} tokens"
        )
    if keep.dtype != torch.bool:
        raise UserError(f"keep has dtype {keep.dtype}: give a boolean mask, true where a token is kept")
    keep_BN |= keep.to(device)
    tokens_BN[keep_BN] = given_BN.to(device, torch.long)[keep_BN]
    if bool(((tokens_BN < 0) | (tokens_BN >= vocab_size)).any()):
        raise UserError(f"a given token lies outside the image vocabulary of {vocab_size}")
    return tokens_BN, keep_BN
