"""Which texts are the same: a number each, equal where the texts are.

# N texts, T tokens, B pictures, C texts
"""

import torch
from torch import Tensor

GOLDEN, MIX_1, MIX_2 = -7046029254386353131, -4658895280553007687, -7723592293110705685  # of splitmix64


def fingerprints(ids_NT: Tensor) -> Tensor:
    """64 bits that tell texts apart, the same in every process; zeros at the end of a text change nothing.

    The sum of a random number for each pair of place and token (Zobrist's hash): two texts out of a million have the
    same with a chance of 3e-8.
    """
    position_T = torch.arange(1, ids_NT.shape[1] + 1, device=ids_NT.device) * GOLDEN
    return (_mixed(_mixed(position_T) + ids_NT.long()) * (ids_NT != 0)).sum(1)


def _mixed(x: Tensor) -> Tensor:
    """The last step of splitmix64, whose overflows are meant."""
    for shift, factor in ((30, MIX_1), (27, MIX_2)):
        x = (x ^ _shifted(x, shift)) * factor
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """To the right, filled with zeros and not with the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def sort_by_label(image_BE: Tensor, text_CE: Tensor, label_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs sorted by their label, and the texts after them, too: then few tiles have positives.

    Where all labels differ all stays as it is, since then those on the diagonal have them in any order.
    """
    if len(label_C.unique()) == len(label_C):
        return image_BE, text_CE, label_C
    num = len(image_BE)
    order_B = label_C[:num].argsort()
    order_C = torch.cat([order_B, num + label_C[num:].argsort()])
    return image_BE[order_B], text_CE[order_C], label_C[order_C]
