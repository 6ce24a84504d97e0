"""The ViTs of timm through our attention, with their weights as they are.

# B batch, T tokens, D width, H heads, K head width
"""

from timm.layers.attention import Attention
from torch import Tensor, nn

from calligram.nn.attention import attention
from calligram.nn.mask import Mask


class OurAttention(Attention):
    """timm's attention, parameters and all, but for the product itself; also fit for timm's ``attn_layer``.

    What our attention lacks, a mask given as a tensor and dropped weights, stays with timm.
    """

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, T, D) in and out."""
        if attn_mask is not None or (self.training and self.attn_drop.p > 0):
            return super().forward(x, attn_mask, is_causal)
        q_BTHK, k_BTHK, v_BTHK = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).unbind(2)
        out_BTD = attention(self.q_norm(q_BTHK), self.k_norm(k_BTHK), v_BTHK, Mask(is_causal)).flatten(2)
        out_BTD = self.norm(out_BTD)
        if self.gate is not None:
            out_BTD = out_BTD * self.gate(x).sigmoid()
        return self.proj_drop(self.proj(out_BTD))


def use_our_attention(model: nn.Module) -> int:
    """Have a finished model of timm compute attention our way; how many layers do.

    Those that are exactly timm's standard attention. ``attn_layer`` of ``timm.create_model`` would replace other kinds,
    too, for instance differential attention; so all others, Eva's, with relative positions, ..., are left as they are.
    """
    layers = [module for module in model.modules() if type(module) is Attention]
    for layer in layers:
        layer.__class__ = OurAttention  # the same fields and another forward: nothing is built or drawn anew
    return len(layers)
