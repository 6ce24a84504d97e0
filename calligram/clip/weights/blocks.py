"""Names within a block and other parts that several layouts share."""

from calligram.clip.weights.layout import Table

OPEN_CLIP_BLOCK: Table = {
    "norm_1.*": "ln_1.*",
    "attention.qkv.weight": "attn.in_proj_weight",
    "attention.qkv.bias": "attn.in_proj_bias",
    "attention.out.*": "attn.out_proj.*",
    "norm_2.*": "ln_2.*",
    "mlp_in.*": "mlp.c_fc.*",
    "mlp_out.*": "mlp.c_proj.*",
}
HF_BLOCK: Table = {
    "norm_1.*": "layer_norm1.*",
    "attention.qkv.*": ("self_attn.q_proj.*", "self_attn.k_proj.*", "self_attn.v_proj.*"),
    "attention.out.*": "self_attn.out_proj.*",
    "norm_2.*": "layer_norm2.*",
    "mlp_in.*": "mlp.fc1.*",
    "mlp_out.*": "mlp.fc2.*",
}
TIMM_BLOCK: Table = {
    "norm_1.*": "norm1.*",
    "attention.qkv.*": "attn.qkv.*",
    "attention.out.*": "attn.proj.*",
    "norm_2.*": "norm2.*",
    "mlp_in.*": "mlp.fc1.*",
    "mlp_out.*": "mlp.fc2.*",
}


def mlp_ratio(hidden: int, width: int) -> float:
    """The ratio of which our Transformer makes exactly this hidden width."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width
