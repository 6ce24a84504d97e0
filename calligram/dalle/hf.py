"""Today's decoder as a language model of Hugging Face's transformers: one vocabulary of words, pads and image tokens.

LlamaForCausalLM; with qk_norm Qwen3ForCausalLM; with rotary positions in two dimensions the text half of
Qwen3VLForConditionalGeneration, whose eye is empty, and which has to be told the positions.

# B batch, T text tokens, M image tokens, V vocabulary, D width, K head width
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calligram.dalle.model import Dalle
from calligram.errors import UserError
from calligram.nn import rotary
from calligram.nn.llama import LlamaConfig
from calligram.tokenizers.export import save_for_transformers
from calligram.tokenizers.text import TextTokenizer

BLOCK = {
    "norm_1": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "attention.query_norm": "self_attn.q_norm",
    "attention.key_norm": "self_attn.k_norm",
    "norm_2": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
}
TURNED = ("attention.query", "attention.key", "attention.query_norm", "attention.key_norm")
EMPTY_EYE: dict[str, Any] = {
    "depth": 0,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_heads": 1,
    "patch_size": 2,
    "temporal_patch_size": 1,
    "spatial_merge_size": 1,
    "num_position_embeddings": 1,
    "deepstack_visual_indexes": [],
}


@dataclass(frozen=True)
class JointVocabulary:
    """Rows of the one table: words, then a pad for each position where there are pads, then image tokens."""

    num_words: int
    num_pads: int
    num_image_tokens: int

    @classmethod
    def of(cls, model: Dalle) -> "JointVocabulary":
        pads = 0 if model.packed else model.text_length
        return cls(model.text_embed.num_embeddings, pads, model.image_vocab_size)

    @property
    def first_image_row(self) -> int:
        return self.num_words + self.num_pads

    @property
    def size(self) -> int:
        return self.first_image_row + self.num_image_tokens


def joint_inputs(model: Dalle, text_BT: Tensor, image_BM: Tensor | None = None) -> dict[str, Tensor]:
    """What the exported model reads for our texts and image tokens: its ids, mask and positions, each (B, T + M).

    Packed texts are moved to the right, so that all pictures begin in one column; what is before them is masked.
    ``position_ids`` is (3, B, T + M) in two dimensions. The output at the last word is for the first image token; rows
    from ``first_image_row`` on of the logits are image tokens.
    """
    rows = JointVocabulary.of(model)
    padding_BT = model.padding(text_BT)
    skip_B = padding_BT.sum(1) if model.packed else torch.zeros_like(text_BT[:, 0])
    ids_BT = text_BT
    if not model.packed:
        pads_T = rows.num_words + torch.arange(text_BT.shape[1], device=text_BT.device)
        ids_BT = torch.where(padding_BT, pads_T, text_BT)
    place_BT = torch.arange(text_BT.shape[1], device=text_BT.device) - skip_B[:, None]
    ids = ids_BT.gather(1, place_BT.clamp(min=0))
    if image_BM is not None:
        ids = torch.cat([ids, image_BM + rows.first_image_row], 1)
    index = torch.arange(ids.shape[1], device=ids.device) - skip_B[:, None]
    found = {"input_ids": ids, "attention_mask": (index >= 0).long(), "position_ids": index.clamp(min=0)}
    config = _llama(model)
    if config.rotary == "2d":
        num_text_B1 = text_BT.shape[1] - skip_B[:, None]
        places = rotary.positions(found["position_ids"], num_text_B1, model.grid, config.rotary)
        found["position_ids"] = places.movedim(-1, 0)
    return found


def export_hf(model: Dalle, tokenizer: TextTokenizer, out: Path) -> None:
    """A folder for ``from_pretrained`` with the weights, the config, and the text's tokenizer. Raises UserError."""
    check_exportable(model)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not empty: choose another --out")
    theirs = to_hf(model)
    try:
        out.mkdir(parents=True, exist_ok=True)
        theirs.save_pretrained(out)
        save_for_transformers(tokenizer, out)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from None


def check_exportable(model: Dalle) -> None:
    """Raises UserError that names what of the model has no place in theirs."""
    config, transformer = model.config, model.config.transformer
    if not isinstance(transformer, LlamaConfig):
        raise UserError(
            f"its Transformer is of type {transformer.type}: only one that was trained with --model.transformer.type "
            "llama --model.token-shift 0 --model.no-neighbours can be exported"
        )
    flags = {
        "--model.token-shift 0": config.token_shift > 0,
        "--model.no-neighbours": config.neighbours,
        "--model.transformer.attention full": transformer.attention != "full",
        "--model.transformer.qk-norm, or --model.transformer.rotary 1d": transformer.rotary == "2d"
        and not transformer.qk_norm,
    }
    needed = [flag for flag, missing in flags.items() if missing]
    if needed:
        raise UserError(f"what Hugging Face has no place for is in this model: train it with {' and '.join(needed)}")


def to_hf(model: Dalle) -> Any:
    """Their model with our weights."""
    import transformers

    check_exportable(model)
    config = _llama(model)
    if config.rotary == "2d":
        whole = transformers.Qwen3VLConfig(
            text_config=_sizes(model) | {"model_type": "qwen3_vl_text"},
            vision_config={**EMPTY_EYE, "out_hidden_size": config.width},
            tie_word_embeddings=False,
        )
        theirs: Any = transformers.Qwen3VLForConditionalGeneration(whole)
        prefix = "model.language_model"
    elif config.qk_norm:
        theirs = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**_sizes(model), attention_bias=False))
        prefix = "model"
    else:
        theirs = transformers.LlamaForCausalLM(transformers.LlamaConfig(**_sizes(model)))
        prefix = "model"
    missing = theirs.load_state_dict(_state(model, prefix), strict=False)
    assert not missing.unexpected_keys and all(".visual." in name for name in missing.missing_keys), missing
    theirs.generation_config = _generation(model)
    theirs.config.calligram = asdict(JointVocabulary.of(model)) | {"text_length": model.text_length, "grid": model.grid}
    return theirs.eval()


def _llama(model: Dalle) -> LlamaConfig:
    assert isinstance(model.config.transformer, LlamaConfig)
    return model.config.transformer


def _sizes(model: Dalle) -> dict[str, Any]:
    config = _llama(model)
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": config.rotary_base}
    if config.rotary == "2d":
        rope |= {"mrope_section": list(rotary.sections(config.head_width)), "mrope_interleaved": True}
    return {
        "vocab_size": JointVocabulary.of(model).size,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "rms_norm_eps": config.norm_eps,
        "max_position_embeddings": model.text_length + model.num_image_tokens,
        "rope_parameters": rope,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def _generation(model: Dalle) -> Any:
    """Draws as many image tokens as a picture has, and nothing else."""
    from transformers import GenerationConfig

    rows = JointVocabulary.of(model)
    return GenerationConfig(
        do_sample=True,
        max_new_tokens=model.num_image_tokens,
        min_new_tokens=model.num_image_tokens,
        suppress_tokens=list(range(rows.first_image_row)),
        pad_token_id=0,
    )


def _state(model: Dalle, prefix: str) -> dict[str, Tensor]:
    """Our weights by their names. A pad has a row of the head, too, which says nothing: it is never drawn."""
    state, config = model.state_dict(), _llama(model)
    pads = [] if model.packed else [state["pad"]]
    tables = [state["text_embed.weight"], state["image_embed.weight"]]
    heads = tables if model.text_head is None else [state["text_head"], state["image_head"]]
    found = {
        f"{prefix}.embed_tokens.weight": torch.cat([tables[0], *pads, tables[1]]),
        "lm_head.weight": torch.cat([heads[0], *(torch.zeros_like(x) for x in pads), heads[1]]),
        f"{prefix}.norm.weight": state["transformer.norm.weight"],
    }
    for layer in range(config.num_layers):
        for ours, theirs in BLOCK.items():
            name = f"transformer.blocks.{layer}.{ours}.weight"
            if name in state:
                x = state[name]
                turned = halves(x, config.head_width) if ours in TURNED else x
                found[f"{prefix}.layers.{layer}.{theirs}.weight"] = turned
    return found


def halves(x: Tensor, head_width: int) -> Tensor:
    """Rows of each head in their order: a pair that is turned are neighbours with us, and K / 2 apart with them."""
    return x.unflatten(0, (-1, head_width // 2, 2)).transpose(1, 2).flatten(0, 2)
