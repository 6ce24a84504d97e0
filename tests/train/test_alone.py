"""Text alone, pictures alone, then text to image: one set of weights; and classes in place of sentences."""

import io
import logging
import tarfile

import pytest
import torch

from calligram import runs
from calligram.cli.main import main
from calligram.dalle.draw import load_dalle
from calligram.dalle.model import DalleConfig
from calligram.dalle.task import DalleLossConfig
from calligram.data.catalogue import catalogue
from calligram.data.training import DataConfig
from calligram.nn.llama import LlamaConfig
from calligram.nn.transformer import TransformerConfig
from calligram.presets.build import start
from calligram.presets.config import DalleRun
from calligram.tokenizers.labels import LabelTokenizer
from calligram.tokenizers.text_config import TextTokenizerConfig
from calligram.train.config import TrainConfig

TRAIN = TrainConfig(steps=2, batch_size=8, warmup_steps=1, log_every=1, save_every=2)
SIZES = {
    "plain": TransformerConfig(width=16, num_layers=1, num_heads=2),
    "llama": LlamaConfig(width=16, num_layers=1, num_heads=2, num_kv_heads=1),
}


def run(tiny_runs, tokens: str, kind: str, init=None, shards=None) -> DalleRun:
    return DalleRun(
        data=DataConfig(shards=shards or tiny_runs.shards, num_workers=0),
        train=TRAIN,
        model=DalleConfig(text_length=32, transformer=SIZES[kind]),
        text_tokenizer=TextTokenizerConfig(vocab_size=300),
        image_tokenizer=tiny_runs.tokenizer,
        loss=DalleLossConfig(tokens=tokens),
        init=init,
    )


def texts_alone(folder):
    """Shards of captions, 20 of them in a tar of others' making."""
    folder.mkdir()
    with tarfile.open(folder / "train-000000.tar", "w") as tar:
        for i in range(20):
            data = f"a {['red', 'blue'][i % 2]} circle above {i} squares".encode()
            info = tarfile.TarInfo(f"{i:04d}.txt")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    catalogue(folder)
    return folder


@pytest.mark.parametrize("kind", SIZES)
def test_words_then_pictures_then_both(tiny_runs, tmp_path, caplog, kind):
    words, pictures, both = (tmp_path / name for name in ("words", "pictures", "both"))
    start(run(tiny_runs, "text", kind, shards=texts_alone(tmp_path / "texts")), words)
    start(run(tiny_runs, "image", kind, init=words), pictures)
    with caplog.at_level(logging.WARNING):
        start(run(tiny_runs, "both", kind, init=pictures), both)
    assert not [message for message in caplog.messages if "--init" in message], "every weight was taken"
    first, second = (runs.read_weights(runs.weights(folder)) for folder in (words, pictures))
    assert first.keys() == second.keys()
    assert not torch.equal(first["image_embed.weight"], second["image_embed.weight"])
    assert set(runs.read_metrics(words)[-1]) >= {"text_loss"} and "image_loss" not in runs.read_metrics(words)[-1]
    assert set(runs.read_metrics(both)[-1]) >= {"text_loss", "image_loss"}
    assert load_dalle(both).draw(["a red circle"], [0]).shape == (1, 3, 16, 16)


def test_shards_of_texts_have_no_pictures_to_learn(tiny_runs, tmp_path, capsys):
    shards = texts_alone(tmp_path / "texts")
    flags = ["--data.shards", str(shards), "--image-tokenizer", str(tiny_runs.tokenizer), "--data.num-workers", "0"]
    assert main(["train", "dalle-shapes", *flags, "--out", str(tmp_path / "run")]) == 2
    assert "holds texts and no pictures: only a DALL-E reads it, with --loss.tokens text" in capsys.readouterr().err


def test_a_class_in_place_of_a_sentence(tiny_runs, tmp_path):
    shards = tmp_path / "shards"
    shards.mkdir()
    theirs = tiny_runs.shards / "train" / "000000.tar"
    with tarfile.open(theirs) as source, tarfile.open(shards / "train-000000.tar", "w") as tar:
        for i, member in enumerate([m for m in source.getmembers() if m.name.endswith(".png")][:16]):
            picture = source.extractfile(member)
            assert picture is not None
            for name, data in ((f"{i}.png", picture.read()), (f"{i}.cls", str(i % 2).encode())):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    found = catalogue(shards)
    found.model_copy(update={"class_names": ["cat", "fire engine"], "templates": ["a photo of a {}", "{}"]}).save(
        shards
    )
    config = run(tiny_runs, "both", "llama", shards=shards)
    config = config.model_copy(
        update={
            "text_tokenizer": TextTokenizerConfig(type="labels"),
            "model": DalleConfig(text_length=3, transformer=SIZES["llama"]),
        }
    )
    start(config, tmp_path / "run")
    dalle = load_dalle(tmp_path / "run")
    assert isinstance(dalle.text_tokenizer, LabelTokenizer)
    assert dalle.model.text_embed.num_embeddings == 5
    assert dalle.draw(["fire engine", "a photo of a cat"], [0, 1]).shape == (2, 3, 16, 16)
