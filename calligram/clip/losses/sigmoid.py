"""SigLIP's loss (arXiv 2303.15343), in memory linear in the batch.

# B pictures of this process, C texts of this process: those of the pictures and then false ones; E embedding
# R rows and S columns of a tile
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from calligram.clip.losses.at_once import Gradients, Wanted, at_once
from calligram.clip.losses.labels import sort_by_label
from calligram.clip.losses.ring import ALONE, Ring, Tensors, travel
from calligram.clip.losses.tiles import LN_2, LOG2_E, Tile, Tiles, eager, scale_gradient, working_dtype

HIGH = 80 * LOG2_E  # from here on e^score might be too large for fp32


@eager
def sigmoid_loss(
    image_BE: Tensor, text_CE: Tensor, scale: Tensor, bias: Tensor, label_C: Tensor, ring: Ring = ALONE
) -> tuple[Tensor, Tensor]:
    """Σ softplus(∓(scale · ⟨picture, text⟩ + bias)) / B, and the share of pictures that find their text.

    − stands for pairs with the same label. Text i < B belongs to picture i; the texts from B on are false ones. The
    gradient is computed along with the value, so that there is one pass over the tiles. Over a ``ring`` all texts
    count, labels have to agree, all processes have to weigh the loss alike, and the mean of the processes' losses is
    that of one process with the whole batch.
    """
    # out of autocast, which would round the scores to 8 bits
    with torch.autocast(image_BE.device.type, enabled=False):
        dtype = working_dtype(image_BE, text_CE)
        image_BE, text_CE, label_C = sort_by_label(image_BE.to(dtype), text_CE.to(dtype), label_C)
        compute = partial(_pass, label_C=label_C, ring=ring)
        loss, accuracy = at_once(compute, (image_BE, text_CE, scale, bias))
        return loss, accuracy


def _pass(inputs: Tensors, wanted: Wanted, label_C: Tensor, ring: Ring) -> tuple[Tensor, tuple[Tensor], Gradients]:
    """Loss, accuracy and the gradients that are wanted of features, scale and bias."""
    image_BE, text_CE, scale, bias = inputs
    num, of_image, of_text = len(image_BE), wanted[0] or (wanted[2] and not wanted[1]), wanted[1]
    factor, offset = ((x.double() * LOG2_E).to(image_BE.dtype) for x in (scale, bias))
    total_2, nearest_2B = image_BE.new_zeros(2, dtype=torch.double), image_BE.new_full((2, num), -torch.inf)
    image_gradient_BE = torch.zeros_like(image_BE) if of_image else None
    text_gradient = (torch.zeros_like(text_CE),) if of_text else ()

    def add(fixed: Tensors, carried: Tensors) -> None:
        theirs_CE, theirs_C = fixed
        tiles = Tiles(image_BE)
        for tile in tiles.walk(image_BE, factor, theirs_CE, label_C[:num], theirs_C):
            tile.scores_RS.add_(offset)
            weights_RS = _add_tile(tile, tiles, total_2, nearest_2B[:, tile.rows])
            if image_gradient_BE is not None:
                image_gradient_BE[tile.rows].addmm_(weights_RS, theirs_CE[tile.columns])
            for gradient_CE in carried:
                gradient_CE[tile.columns].addmm_(weights_RS.T, tile.x_RE, alpha=LN_2 / num)

    text_gradient = travel(ring, (text_CE, label_C), text_gradient, add)
    if image_gradient_BE is not None:
        image_gradient_BE.mul_(scale / num)
    loss, bias_gradient = total_2[0] / num, total_2[1] / num
    accuracy = (nearest_2B[1] > nearest_2B[0]).to(image_BE.dtype).mean()
    of_scale = None
    if wanted[2]:
        image_known = image_gradient_BE is not None
        x, gradient = (image_BE, image_gradient_BE) if image_known else (text_CE, text_gradient[0])
        of_scale = scale_gradient(x, gradient, scale)
    gradients = (image_gradient_BE if wanted[0] else None, *(text_gradient or (None,)), of_scale)
    return loss.to(image_BE.dtype), (accuracy,), (*gradients, bias_gradient.to(bias.dtype) if wanted[3] else None)


def _add_tile(tile: Tile, tiles: Tiles, total_2: Tensor, nearest_2R: Tensor) -> Tensor:
    """Add a tile's loss and its derivative by the bias to the total, and return that by each score (in base e)."""
    scores_RS, same_RS = tile.scores_RS, tile.same_RS
    pulls_RS = None
    if same_RS is not None:
        right_RS = scores_RS.masked_fill(~same_RS, torch.inf)
        total_2[0] += F.softplus(right_RS * -LN_2, threshold=50).sum()
        pulls_RS = (right_RS * -LN_2).sigmoid_()
        top_R = scores_RS.masked_fill(~same_RS, -torch.inf).amax(1)
        nearest_2R[1] = torch.maximum(nearest_2R[1], top_R)
        scores_RS.masked_fill_(same_RS, -torch.inf)
    top_R, buffer_RS = scores_RS.amax(1), tiles.buffer(*scores_RS.shape)
    nearest_2R[0] = torch.maximum(nearest_2R[0], top_R)
    if float(top_R.max()) < HIGH:  # not so where it is nan
        exp_RS = scores_RS.exp2_()
        total_2[0] += torch.log1p(exp_RS, out=buffer_RS).sum()
        weights_RS = exp_RS.div_(torch.add(exp_RS, 1, out=buffer_RS))
    else:
        scores_RS.mul_(LN_2)
        total_2[0] += F.softplus(scores_RS, threshold=50).sum()
        weights_RS = scores_RS.sigmoid_()
    if pulls_RS is not None:
        weights_RS.sub_(pulls_RS)
    total_2[1] += weights_RS.sum()
    return weights_RS
