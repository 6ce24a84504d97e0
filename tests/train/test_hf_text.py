"""A CLIP whose text tower is a model of Hugging Face, with that model's tokenizer."""

import shutil

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, PreTrainedTokenizerFast

from calligram import load_clip
from calligram.clip.towers import HFTextConfig
from calligram.presets.build import start
from calligram.tokenizers.hf import HFTextTokenizer
from calligram.tokenizers.text_config import TextTokenizerConfig
from tests.train.test_resume import clip_run

WORDS = "[PAD] [CLS] [SEP] [UNK] a red blue green circle square above below".split()


def write_bert(folder) -> None:
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    AutoModel.from_config(BertConfig(vocab_size=len(WORDS), **size)).save_pretrained(folder)
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)


def test_a_run_with_it_needs_no_more_than_its_own_folder(drawings, tmp_path):
    bert = tmp_path / "bert"
    write_bert(bert)
    config = clip_run(drawings, tmp_path)
    text = HFTextConfig(name=str(bert), pretrained=True, context_length=16)
    config = config.model_copy(
        update={
            "model": config.model.model_copy(update={"text": text}),
            "text_tokenizer": TextTokenizerConfig(type="hf", name=str(bert)),
        }
    )
    start(config, tmp_path / "run")
    shutil.rmtree(bert)
    clip = load_clip(tmp_path / "run")
    assert isinstance(clip.tokenizer, HFTextTokenizer)
    vectors = clip.embed_texts(["a red circle", "a blue square"])
    assert torch.pdist(vectors).item() > 1e-4
