"""Where a model of others is, in a word → its config, its weights under our names, its tokenizer.

| Word | What it is |
|---|---|
| ``open_clip:ViT-B-32/laion2b_s34b_b79k`` | a model and a tag of open_clip's registry, fetched by it |
| ``hf:openai/clip-vit-base-patch32`` | on Hugging Face's hub: CLIPModel, SiglipModel, Siglip2Model, or open_clip's |
| a folder | what Hugging Face or open_clip saved |
| ``ViT-B-16:weights.pt`` | a file of weights, and what open_clip calls its model |
| ``ViT-B-32.pt`` | an archive that OpenAI published, or weights in the same layout |
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calligram import runs
from calligram.clip.model import ClipConfig
from calligram.clip.towers.hf import HFTextConfig, their_config
from calligram.clip.weights.archive import is_archive
from calligram.clip.weights.files import read_folder, read_json, read_state
from calligram.clip.weights.hf import IGNORED, config_from_hf, hf_rules
from calligram.clip.weights.hf_preprocess import read_preprocessor
from calligram.clip.weights.layout import State, to_ours
from calligram.clip.weights.open_clip import config_from_open_clip
from calligram.clip.weights.open_clip_infer import infer_model_config
from calligram.clip.weights.open_clip_names import open_clip_rules, plain_names, without_decoder
from calligram.errors import UserError
from calligram.nn.transformer import Activation
from calligram.tokenizers.clip_bpe import CLIP_VOCAB_SIZE
from calligram.tokenizers.hf import Cleaning, Ending, HFTextTokenizer, has_tokenizer, written_cleaning
from calligram.tokenizers.text import TextTokenizer

OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
SENTENCEPIECE = "spiece.model"
HF_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ARCHIVE_ACTIVATION: Activation = "quick_gelu"  # of all that OpenAI published


log = logging.getLogger(__name__)


class ActivationUnknown(UserError):
    """Weights that could have been trained with either; the wrong one costs accuracy without a word."""


@dataclass(frozen=True)
class Foreign:
    """A model of others in our terms."""

    config: ClipConfig
    state: State
    tokenizer: TextTokenizer


def is_foreign(source: str | Path) -> bool:
    """Whether a word is a model of others, and not the folder of a run."""
    path = Path(source)
    if path.is_dir():
        return (path / OPEN_CLIP_CONFIG).is_file() or "model_type" in _config_if_any(path)
    return path.is_file() or _prefix(source) in ("open_clip", "hf") or _named_file(str(source)) is not None


def open_source(source: str | Path, activation: Activation | None = None) -> Foreign:
    """Read a model of others. ``activation`` is for weights that do not say which they were trained with.

    Raises UserError where there is no such model, where it has parts that we lack, or where it does not say enough.
    """
    word, path = str(source), Path(source)
    if not path.exists() and _prefix(source) == "hf":
        path = _fetch(word.removeprefix("hf:"))
    if path.is_dir():
        _only_where_unknown(activation, source)
        return _open_clip_folder(path) if (path / OPEN_CLIP_CONFIG).is_file() else _hf_folder(path)
    if path.is_file():
        return _unnamed_file(path, activation)
    if named := _named_file(word):
        return _named(*named, activation)
    if _prefix(source) == "open_clip":
        _only_where_unknown(activation, source)
        return _registered(word.removeprefix("open_clip:"))
    raise UserError(f"there is no model {word}: give a folder, a file, open_clip:NAME/TAG, hf:NAME or NAME:FILE")


def _prefix(source: str | Path) -> str:
    return str(source).partition(":")[0] if ":" in str(source) else ""


def _named_file(word: str) -> tuple[str, Path] | None:
    """``ViT-B-32:weights.pt``, also with ``open_clip:`` before it, as name and file."""
    name, colon, file = word.removeprefix("open_clip:").partition(":")
    return (name, Path(file)) if colon and name != "hf" and Path(file).is_file() else None


def _config_if_any(folder: Path) -> dict[str, Any]:
    return read_json(folder / runs.CONFIG) if (folder / runs.CONFIG).is_file() else {}


def _only_where_unknown(activation: Activation | None, source: str | Path) -> None:
    if activation is not None:
        raise UserError(f"{source} says itself which activation it has: leave {activation} out")


def _hf_folder(folder: Path) -> Foreign:
    found = config_from_hf(read_json(folder / runs.CONFIG), read_preprocessor(folder))
    state = to_ours(read_folder(folder, HF_WEIGHTS), hf_rules(found.config), IGNORED)
    # SigLIP's is not in its tokenizer.json; SigLIP 2's tokenizer makes its texts lower case itself
    is_siglip = found.config.init_bias is not None and not found.config.preprocess.is_native
    usual: Cleaning = "canonicalize" if is_siglip else "none"
    cleaning = written_cleaning(folder) or usual
    return Foreign(found.config, state, _tokenizer(found.config, found.vocab_size, folder, "", cleaning))


def _open_clip_folder(folder: Path) -> Foreign:
    found = read_json(folder / OPEN_CLIP_CONFIG)
    if "model_cfg" not in found:
        raise UserError(f"{folder / OPEN_CLIP_CONFIG} has no model_cfg: is it a config of open_clip?")
    state = read_folder(folder, OPEN_CLIP_WEIGHTS)
    return _open_clip(found["model_cfg"], found.get("preprocess_cfg", {}), state, folder)


def _unnamed_file(path: Path, activation: Activation | None) -> Foreign:
    if is_archive(path):
        _only_where_unknown(activation, path)
        activation = ARCHIVE_ACTIVATION
    if activation is None:
        raise ActivationUnknown(
            f"{path} does not say which activation its model was trained with, and the wrong one costs accuracy "
            "without a word: give quick_gelu for OpenAI's weights, gelu for most others (--activation)"
        )
    state = plain_names(read_state(path))
    return _open_clip(infer_model_config(state, activation), {}, state, path.parent)


def _named(name: str, path: Path, activation: Activation | None) -> Foreign:
    import open_clip

    model = _model_config(name)
    archive = is_archive(path)
    quick = archive or model.get("quick_gelu", False)
    if quick:
        _only_where_unknown(activation, f"{name}:{path}")
    elif activation is None and f"{name}-quickgelu" in open_clip.list_models():
        raise ActivationUnknown(
            f"{path} does not say whether it is a {name} or a {name}-quickgelu: give --activation quick_gelu or gelu"
        )
    model["quick_gelu"] = quick or activation == "quick_gelu"
    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    return _open_clip(model, _agreed(tags), read_state(path), path.parent)


def _agreed(tags: list[dict[str, Any]]) -> dict[str, Any]:
    """The preprocessing of a model's published weights, as far as all of them have the same."""
    names = ("mean", "std", "interpolation", "resize_mode")
    return {name: tags[0].get(name) for name in names if tags and len({str(tag.get(name)) for tag in tags}) == 1}


def _registered(word: str) -> Foreign:
    import open_clip

    name, _, tag = word.partition("/")
    model = _model_config(name)
    found = open_clip.get_pretrained_cfg(name, tag)
    if not found:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise UserError(f"open_clip has no weights {tag!r} of {name}; it has: {known}")
    try:
        path = Path(open_clip.download_pretrained(found))
    except Exception as error:  # the hub's client and urllib raise many kinds
        raise UserError(f"open_clip could not fetch {word}: {str(error).strip().splitlines()[0]}") from None
    # the tag tells what the weights were trained with; the name's config may say otherwise
    model["quick_gelu"] = is_archive(path) or found.get("quick_gelu", False)
    return _open_clip(model, found, read_state(path), path.parent)


def _model_config(name: str) -> dict[str, Any]:
    import open_clip

    found = open_clip.get_model_config(name)
    if found is None:
        raise UserError(f"open_clip has no model {name!r}: see open_clip.list_models()")
    return found


def _open_clip(model: dict[str, Any], preprocess: dict[str, Any], state: State, folder: Path) -> Foreign:
    config, text = config_from_open_clip(model, preprocess).resolved(), model["text_cfg"]
    options = text.get("tokenizer_kwargs") or {}
    tokenizer = _tokenizer(
        config,
        _vocab_size(config, text),
        folder,
        text.get("hf_tokenizer_name") or text.get("hf_model_name") or "",
        options.get("clean", "whitespace"),
        "stripped" if options.get("strip_sep_token") else "kept",
    )
    encoders, num_others = without_decoder(plain_names(state)) if "multimodal_cfg" in model else (state, 0)
    if num_others:
        log.warning(
            f"CoCa is taken over to compare: its decoder, {num_others} tensors that write captions, is left out"
        )
    return Foreign(config, to_ours(plain_names(encoders), open_clip_rules(config), IGNORED), tokenizer)


def _vocab_size(config: ClipConfig, text: dict[str, Any]) -> int:
    if isinstance(config.text, HFTextConfig):
        return their_config(config.text).vocab_size
    return text.get("vocab_size", CLIP_VOCAB_SIZE)


def _tokenizer(
    config: ClipConfig, vocab_size: int, folder: Path, name: str, cleaning: Cleaning, ending: Ending = "kept"
) -> TextTokenizer:
    """CLIP's own, or the one beside the weights, or the one of the name that their config gives."""
    length = config.text.context_length
    if vocab_size == CLIP_VOCAB_SIZE and not name:
        return TextTokenizer.clip(length)
    if not has_tokenizer(folder) and (folder / SENTENCEPIECE).is_file():
        raise UserError(
            f"{folder} has its tokenizer as {SENTENCEPIECE} only, which is not read here: make a tokenizer.json of it "
            "with transformers and sentencepiece, by AutoTokenizer.from_pretrained and save_pretrained"
        )
    if not name and not has_tokenizer(folder):
        raise UserError(f"{folder} has no tokenizer.json, and {vocab_size} tokens are not CLIP's {CLIP_VOCAB_SIZE}")
    where = str(folder) if has_tokenizer(folder) else name
    tokenizer = HFTextTokenizer.of(where, length, cleaning, vocab_size, ending)
    if tokenizer.vocab_size > vocab_size:
        raise UserError(f"the tokenizer {where} has {tokenizer.vocab_size} tokens, but the model knows {vocab_size}")
    return tokenizer


def _fetch(name: str) -> Path:
    """A copy of a model on the hub: its configs, tokenizer and one file format of weights."""
    from huggingface_hub import list_repo_files, snapshot_download

    texts = ["*.json", "*.txt", "merges.txt"]
    try:
        files = set(list_repo_files(name))
        kept = next(
            (x for x in (*OPEN_CLIP_WEIGHTS, *HF_WEIGHTS) if {x, f"{x}.index.json"} & files), "model.safetensors"
        )
        pieces = kept.replace(".", "-*.", 1)
        return Path(snapshot_download(name, allow_patterns=[*texts, kept, pieces]))
    except Exception as error:  # no network, no such name, no right to see it
        raise UserError(f"could not fetch {name} from the hub: {str(error).strip().splitlines()[0]}") from None
