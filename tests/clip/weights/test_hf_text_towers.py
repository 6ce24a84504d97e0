"""open_clip's text towers that are models of Hugging Face, and CLIPA's words: ours say the same."""

import json

import open_clip
import pytest
import torch
from open_clip.model import CustomTextCLIP
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    MT5Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
    XLMRobertaConfig,
)

from calligram import load_clip
from calligram.clip.load import save_model
from calligram.clip.weights.export import export_open_clip
from calligram.clip.weights.layout import to_ours
from calligram.clip.weights.open_clip import config_from_open_clip
from calligram.clip.weights.open_clip_names import open_clip_rules, plain_names
from calligram.errors import UserError
from calligram.tokenizers.export import save_for_transformers
from calligram.tokenizers.hf import HFTextTokenizer
from calligram.tokenizers.text import TextTokenizer
from tests.clip.weights.peers import (
    CLOSE,
    OPEN_CLIP,
    VIT,
    differences,
    list_tensors,
    open_clip_model,
    our_model,
    perturbed,
)

VOCAB, PAD, END, LENGTH = 50, 1, 2, 12
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
IDS = {"vocab_size": VOCAB, "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": 0}
PLACES = {"max_position_embeddings": LENGTH + 2}  # these count from behind the padding's id
CONFIGS = {
    "roberta": RobertaConfig(**SIZE, **IDS, **PLACES),
    "xlm-roberta": XLMRobertaConfig(**SIZE, **IDS, **PLACES),
    "bert": BertConfig(**SIZE, **IDS, **PLACES),
    "mt5": MT5Config(**IDS, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
}
CASES = [
    ("roberta", "mean_pooler", "mlp", 24),
    ("xlm-roberta", "mean_pooler", "linear", 24),
    ("xlm-roberta", "cls_last_hidden_state_pooler", "mlp", 24),
    ("bert", "cls_pooler", "linear", 24),
    ("mt5", "mean_pooler", "mlp", 24),
    ("roberta", "mean_pooler", None, 32),
]


def texts() -> torch.Tensor:
    random = torch.Generator().manual_seed(2)
    ids = torch.randint(3, VOCAB, (5, LENGTH), generator=random)
    for row, last in enumerate((2, 4, LENGTH - 1, 3, 6)):
        ids[row, last], ids[row, last + 1 :] = END, PAD
    return ids


def model_config(folder, config: PretrainedConfig, pooler: str, projection: str | None, embed_dim: int) -> dict:
    config.save_pretrained(folder)
    text = {"hf_model_name": str(folder), "hf_model_pretrained": False, "context_length": LENGTH}
    text |= {"hf_pooler_type": pooler, "hf_proj_type": projection}
    return {"embed_dim": embed_dim, "vision_cfg": VIT, "text_cfg": text}


@pytest.mark.parametrize(("kind", "pooler", "projection", "embed_dim"), CASES)
def test_the_same_weights_give_the_same_vectors(tmp_path, kind, pooler, projection, embed_dim):
    config = model_config(tmp_path, CONFIGS[kind], pooler, projection, embed_dim)
    torch.manual_seed(0)
    theirs = perturbed(CustomTextCLIP(**config), share=0.2, least=0.02)
    ours_config = config_from_open_clip(config, {}).resolved()
    state = plain_names(list_tensors(theirs))
    ours = our_model(ours_config, to_ours(state, open_clip_rules(ours_config)), VOCAB, END)
    assert max(differences(ours, theirs, texts())) < CLOSE


def test_a_folder_is_read_with_its_words_and_needs_nothing_else_afterwards(tmp_path):
    words = TextTokenizer.train(["a red circle", "two blue squares, maybe three"], 300, LENGTH)
    ids = {**IDS, "vocab_size": words.vocab_size, "pad_token_id": words.pad_id}
    config = model_config(tmp_path / "text", RobertaConfig(**SIZE, **ids, **PLACES), "mean_pooler", "mlp", 24)
    torch.manual_seed(0)
    theirs = perturbed(CustomTextCLIP(**config), share=0.2, least=0.02)
    folder = tmp_path / "theirs"
    folder.mkdir()
    save_file(list_tensors(theirs), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**config, "custom_text": True}}))
    save_for_transformers(words, folder)
    clip = load_clip(folder)
    found = ["a red circle", "TWO  blue squares", "red", "circle " * 30]
    text = HFTokenizer(str(folder), context_length=LENGTH)(found)
    assert torch.equal(clip.tokenizer(found), text)
    assert max(differences(clip.model, theirs, text)) < CLOSE
    save_model(clip.model, clip.tokenizer, tmp_path / "run")
    (tmp_path / "text/config.json").unlink()
    again = load_clip(tmp_path / "run")
    assert torch.equal(again.embed_texts(found, strict=False), clip.embed_texts(found, strict=False))


def test_a_model_without_a_pooler_is_told(tmp_path):
    config = config_from_open_clip(model_config(tmp_path, CONFIGS["mt5"], "cls_pooler", "mlp", 24), {})
    with pytest.raises(UserError, match="has no pooler of its own"):
        open_clip_rules(config)


@pytest.fixture
def like_berts(tmp_path):
    """A folder with word pieces, [CLS] before and [SEP] behind, as bert-base-uncased's."""
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat", "##s", "dog", "red", "!"]
    bpe = Tokenizer(models.WordPiece({word: i for i, word in enumerate(vocab)}, unk_token="[UNK]"))
    bpe.normalizer, bpe.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    bpe.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=bpe, **special).save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


def test_clipas_words_end_in_nothing_but_zeros(like_berts, tmp_path):
    found = ["a cat", "A  red DOG!", "cats " * 30, "two [SEP] dogs", ""]
    theirs = HFTokenizer(str(like_berts), context_length=8, strip_sep_token=True)(found)
    ours = HFTextTokenizer.of(str(like_berts), 8, "whitespace", VOCAB, "stripped")
    assert torch.equal(ours(found), theirs) and not (theirs == 3).any()
    ours.save(tmp_path / "words.json")
    assert torch.equal(TextTokenizer.load(tmp_path / "words.json")(found), theirs)
    kept = HFTextTokenizer.of(str(like_berts), 8, "whitespace", VOCAB)
    assert not torch.equal(kept(found), theirs) and kept.fingerprint != ours.fingerprint


def test_a_clipa_comes_and_goes_with_its_words(like_berts, tmp_path):
    config = json.loads(json.dumps(OPEN_CLIP["clipa"]))
    options = {"strip_sep_token": True}
    config["text_cfg"] |= {"hf_tokenizer_name": str(like_berts), "tokenizer_kwargs": options, "vocab_size": VOCAB}
    theirs = open_clip_model(config)
    folder = tmp_path / "clipa"
    folder.mkdir()
    save_file(list_tensors(theirs), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    clip = load_clip(folder)
    found = ["a cat", "A  red DOG!", "cats " * 30]
    length = clip.tokenizer.context_length
    ids = HFTokenizer(str(like_berts), context_length=length, strip_sep_token=True)(found)
    assert torch.equal(clip.tokenizer(found), ids)
    assert max(differences(clip.model, theirs, ids)) < CLOSE
    export_open_clip(clip.model, clip.tokenizer, tmp_path / "out")
    back = open_clip.create_model(f"local-dir:{tmp_path / 'out'}").eval()
    assert torch.equal(open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}", context_length=length)(found), ids)
    assert max(differences(clip.model, back, ids)) < CLOSE
    assert torch.equal(load_clip(tmp_path / "out").tokenizer(found), ids)
