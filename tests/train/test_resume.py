"""A run of each kind that is interrupted and resumed ends with the very bytes of one that was not."""

import shutil

import pytest

from calligram import runs
from calligram.clip.model import ClipConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.dalle.model import DalleConfig
from calligram.data.training import DataConfig
from calligram.data.transforms import AugmentConfig
from calligram.errors import UserError
from calligram.nn.transformer import TransformerConfig
from calligram.presets.build import start
from calligram.presets.config import ClipRun, DalleRun, TokenizerRun
from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.fsq import FSQConfig
from calligram.train.checkpoint import Writer
from calligram.train.config import TrainConfig

SMALL = TransformerConfig(width=16, num_layers=1, num_heads=2, dropout=0.2)
TRAIN = TrainConfig(steps=4, batch_size=12, warmup_steps=1, log_every=2, save_every=2, precision="fp32")


def tokenizer_run(drawings, tmp_path) -> TokenizerRun:
    autoencoder = AutoencoderConfig(patch=4, channels=(16, 16), num_blocks=1)
    data = DataConfig(shards=drawings, num_workers=0, augment=AugmentConfig(shift=2, flip=True))
    return TokenizerRun(data=data, model=FSQConfig(image_size=16, levels=(5, 5), autoencoder=autoencoder), train=TRAIN)


def clip_run(drawings, tmp_path) -> ClipRun:
    model = ClipConfig(
        image_size=16,
        embed_dim=8,
        image=ViTConfig(patch=8, stem=(4,), stem_blocks=1, transformer=SMALL),
        text=TextTowerConfig(transformer=SMALL),
    )
    return ClipRun(data=DataConfig(shards=drawings, num_workers=1), model=model, train=TRAIN)


def dalle_run(drawings, tmp_path) -> DalleRun:
    tokenizer = tmp_path / "tokenizer"
    start(
        tokenizer_run(drawings, tmp_path).model_copy(update={"train": TRAIN.model_copy(update={"steps": 1})}), tokenizer
    )
    model = DalleConfig(text_length=32, transformer=SMALL)
    data = DataConfig(shards=drawings, num_workers=1)
    return DalleRun(data=data, image_tokenizer=tokenizer, model=model, train=TRAIN)


class Killed(Exception):
    pass


@pytest.mark.parametrize("build_run", [tokenizer_run, clip_run, dalle_run])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(drawings, tmp_path, monkeypatch, build_run):
    config = build_run(drawings, tmp_path)
    start(config, tmp_path / "whole")

    def save_and_die(writer, *args):
        save(writer, *args)
        raise Killed

    save = Writer.save
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "save", save_and_die)
        with pytest.raises(Killed):
            start(config, tmp_path / "resumed")
    start(config, tmp_path / "resumed", resume=True)
    for name in ("model", "optimizer"):
        files = [tmp_path / run / "step_000004" / f"{name}.safetensors" for run in ("whole", "resumed")]
        assert files[0].read_bytes() == files[1].read_bytes()
    losses = [[row["loss"] for row in runs.read_metrics(tmp_path / run)] for run in ("whole", "resumed")]
    assert len(losses[0]) == 2 and losses[0] == losses[1]


def test_a_dalle_keeps_the_tokenizer_that_it_began_with(drawings, tmp_path):
    config = dalle_run(drawings, tmp_path)
    start(config, tmp_path / "run")
    own = tmp_path / "run" / runs.IMAGE_TOKENIZER / runs.MODEL
    before = own.read_bytes()
    shutil.rmtree(config.image_tokenizer)
    other = tokenizer_run(drawings, tmp_path)
    start(other.model_copy(update={"train": TRAIN.model_copy(update={"seed": 1})}), config.image_tokenizer)
    start(config, tmp_path / "run", resume=True)
    assert own.read_bytes() == before


def test_fields_that_came_later_do_not_stand_in_the_way(drawings, tmp_path):
    config = clip_run(drawings, tmp_path)
    start(config, tmp_path / "run")
    written = runs.read_config(tmp_path / "run")
    del written["train"]["optimizer"]  # as a run has it that is older than the field
    runs.write_config(tmp_path / "run", written)
    start(config, tmp_path / "run", resume=True)
    changed = config.model_copy(update={"train": TRAIN.model_copy(update={"optimizer": "muon"})})
    with pytest.raises(UserError, match=r'train.optimizer \("adamw", now "muon"\)'):
        start(changed, tmp_path / "run", resume=True)


def test_augmenting_stored_tokens_is_refused(drawings, tmp_path):
    config = dalle_run(drawings, tmp_path)
    augmented = config.model_copy(update={"data": config.data.model_copy(update={"augment": AugmentConfig(flip=True)})})
    with pytest.raises(UserError, match=r"data\.augment is set"):
        start(augmented, tmp_path / "run")
