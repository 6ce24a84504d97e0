"""log p(picture | text): how likely a DALL-E would have drawn these tokens for this text.

# B pictures, R rows of a part, T text tokens, N image tokens, V image vocabulary, C texts
"""

import torch
from torch import Tensor

from calligram.dalle.model import Dalle
from calligram.nn.cache import KVCache

PART = 2**24  # logits held at once; 64 MB in fp32


@torch.inference_mode()
def log_likelihood(model: Dalle, text_BT: Tensor, image_BN: Tensor) -> Tensor:
    """log p of each image token given the text and the tokens before it, nats, (B, N) fp32; a picture's is their sum.

    Each distinct text is read once, and pictures in parts, so that memory does not grow with B.
    """
    texts, text_of_B = torch.unique(text_BT, dim=0, return_inverse=True)
    log_p_BN = torch.empty(image_BN.shape, device=image_BN.device)
    for number, text_T in enumerate(texts):
        rows = (text_of_B == number).nonzero()[:, 0]
        log_p_BN[rows] = _of_one_text(model, text_T, image_BN[rows])
    return log_p_BN


def information(model: Dalle, text_BT: Tensor, image_BN: Tensor) -> Tensor:
    """log p(picture | text) − log p(picture), nats a token, (B, N): what the text says about the picture.

    p(picture) is that with the empty text, which training with dropped captions teaches; without, this means nothing.
    """
    return log_likelihood(model, text_BT, image_BN) - log_likelihood(model, model.drop_text(text_BT), image_BN)


@torch.inference_mode()
def log_likelihood_of_texts(model: Dalle, text_CT: Tensor, image_BN: Tensor) -> Tensor:
    """log p of each picture under each text, nats, (B, C) fp32; each distinct text is read once."""
    texts, column_of_C = torch.unique(text_CT, dim=0, return_inverse=True)
    columns = [_of_one_text(model, text_T, image_BN).sum(1) for text_T in texts]
    return torch.stack(columns, 1)[:, column_of_C]


def _of_one_text(model: Dalle, text_T: Tensor, image_BN: Tensor) -> Tensor:
    """(B, N) for pictures that all go with one text, which is read once."""
    prefix = model.new_cache(1)
    first_V = model.prefill(text_T[None], prefix)[0]
    rows = max(1, PART // (model.num_image_tokens * model.image_vocab_size))
    return torch.cat([_part(model, first_V, prefix, image_RN) for image_RN in image_BN.split(rows)])


def _part(model: Dalle, first_V: Tensor, prefix: KVCache, image_RN: Tensor) -> Tensor:
    num_rows = len(image_RN)
    cache = prefix.select(torch.zeros(num_rows, dtype=torch.long, device=image_RN.device))
    logits_RNV = first_V.expand(num_rows, 1, -1)
    if image_RN.shape[1] > 1:
        logits_RNV = torch.cat([logits_RNV, model.extend(image_RN[:, :-1], cache, 0)], 1)
    return logits_RNV.float().log_softmax(-1).gather(2, image_RN[..., None])[..., 0]
