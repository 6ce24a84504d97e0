"""Two models of one vocabulary, which may read the same ids.

# B texts, T and U tokens that the one and the other reads
"""

import torch.nn.functional as F
from torch import Tensor

from calligram.tokenizers.text import TextTokenizer


def share_words(a: TextTokenizer, b: TextTokenizer) -> bool:
    """Whether both make the same ids of a text, up to where it is cut, and :func:`refit` can tell where it ends."""
    return a.word_fingerprint == b.word_fingerprint and a.start_id != a.end_id


def refit(ids_BT: Tensor, tokenizer: TextTokenizer) -> Tensor:
    """Ids of a tokenizer that shares its words with ``tokenizer``, as wide as this one's: (B, T) → (B, U).

    A text that was cut already stays as short.
    """
    length = tokenizer.context_length
    if ids_BT.shape[1] <= length:
        return F.pad(ids_BT, (0, length - ids_BT.shape[1]), value=tokenizer.pad_id)
    kept_BU = ids_BT[:, :length].clone()
    # not by padding, which in CLIP is a word, too
    goes_on_B = ~(kept_BU == tokenizer.end_id).any(1)
    kept_BU[goes_on_B, -1] = tokenizer.end_id
    return kept_BU
