"""What the layers of a DALL-E's decoder make of a picture.

# L layers, B pictures, T text tokens, N image tokens, D width
"""

import torch
from torch import Tensor, nn

from calligram.dalle.draw import DallePipeline


@torch.inference_mode()
def layer_means(dalle: DallePipeline, tokens_BN: Tensor) -> Tensor:
    """Each layer's output averaged over the image tokens that it reads, all but the last, with no text: (L, B, D) fp32.

    The empty text is read once, into a cache that all pictures start from; what comes out behind it is of image tokens
    alone, whatever layout texts have.
    """
    model = dalle.model
    text_1T = model.drop_text(dalle.text_tokenizer([""]).to(dalle.device))
    prefix = model.new_cache(1)
    model.prefill(text_1T, prefix)
    parts = []
    for part in tokens_BN.to(dalle.device).split(dalle.batch_size):
        cache = prefix.select(torch.zeros(len(part), dtype=torch.long, device=dalle.device))
        found: list[Tensor] = []
        hooks = [block.register_forward_hook(_keeper(found)) for block in model.transformer.blocks]
        try:
            model.extend(part[:, :-1], cache, 0)
        finally:
            for hook in hooks:
                hook.remove()
        parts.append(torch.stack(found))
    return torch.cat(parts, 1)


def _keeper(found: list[Tensor]):
    def keep(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        found.append(output.float().mean(1))

    return keep
