"""A run of each kind that is interrupted and resumed ends with the very bytes of one that was not."""

import shutil

import pytest
from safetensors.torch import load_file

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
from calligram.tokenizers.dvae import DVAEConfig
from calligram.tokenizers.fsq import FSQConfig
from calligram.tokenizers.losses import DiscriminatorConfig, TokenizerLossConfig
from calligram.tokenizers.run import load_tokenizer
from calligram.tokenizers.vq import AveragedCodebook, VQConfig
from calligram.train.checkpoint import Writer
from calligram.train.config import TrainConfig

SMALL = TransformerConfig(width=16, num_layers=1, num_heads=2, dropout=0.2)
TRAIN = TrainConfig(steps=4, batch_size=12, warmup_steps=1, log_every=2, save_every=2, precision="fp32")


def tokenizer_run(drawings, tmp_path) -> TokenizerRun:
    autoencoder = AutoencoderConfig(patch=4, channels=(16, 16), num_blocks=1)
    data = DataConfig(shards=drawings, num_workers=0, augment=AugmentConfig(shift=2, flip=True))
    return TokenizerRun(data=data, model=FSQConfig(image_size=16, levels=(5, 5), autoencoder=autoencoder), train=TRAIN)


def dvae_run(drawings, tmp_path) -> TokenizerRun:
    """What follows the step: the temperature, and the weight of a loss."""
    sizes = {"width": 8, "decoder_stem": 8, "num_groups": 3, "vocab_size": 16}
    model = DVAEConfig(image_size=16, temperature_steps=4, kl_steps=3, **sizes)
    return tokenizer_run(drawings, tmp_path).model_copy(update={"model": model})


def vq_run(drawings, tmp_path) -> TokenizerRun:
    """What is averaged over steps, and begins anew where it is not used; and a second model beside the first."""
    plain = tokenizer_run(drawings, tmp_path)
    codebook = AveragedCodebook(decay=0.5, dead_below=0.5)
    model = VQConfig(image_size=16, vocab_size=16, code_dim=4, codebook=codebook, autoencoder=plain.model.autoencoder)
    loss = TokenizerLossConfig(discriminator=DiscriminatorConfig(weight=0.1, start=1, width=8, num_layers=2))
    return plain.model_copy(update={"model": model, "loss": loss})


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


def start_and_die(config, run, monkeypatch):
    """Train up to the first save, and no further."""

    def save_and_die(writer, *args):
        save(writer, *args)
        raise Killed

    save = Writer.save
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "save", save_and_die)
        with pytest.raises(Killed):
            start(config, run)


@pytest.mark.parametrize("build_run", [tokenizer_run, dvae_run, vq_run, clip_run, dalle_run])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(drawings, tmp_path, monkeypatch, build_run):
    config = build_run(drawings, tmp_path)
    start(config, tmp_path / "whole")

    start_and_die(config, tmp_path / "resumed", monkeypatch)
    start(config, tmp_path / "resumed", resume=True)
    names = [path.stem for path in (tmp_path / "whole/step_000004").glob("*.safetensors")]
    assert set(names) == {"model", "optimizer", *(["companion"] if build_run is vq_run else [])}
    for name in names:
        files = [tmp_path / run / "step_000004" / f"{name}.safetensors" for run in ("whole", "resumed")]
        assert files[0].read_bytes() == files[1].read_bytes()
    losses = [[row["loss"] for row in runs.read_metrics(tmp_path / run)] for run in ("whole", "resumed")]
    assert len(losses[0]) == 2 and losses[0] == losses[1]


def test_a_discriminator_is_saved_beside_the_tokenizer_and_not_in_it(drawings, tmp_path):
    config = vq_run(drawings, tmp_path)
    start(config, tmp_path / "run")
    folder = tmp_path / "run" / "step_000004"
    model, beside = load_file(folder / "model.safetensors"), load_file(folder / "companion.safetensors")
    assert set(model) == set(load_tokenizer(tmp_path / "run").state_dict())
    assert beside and all(name.startswith("layers.") for name in beside)
    stepped = {name.rsplit("/", 1)[0] for name in load_file(folder / "optimizer.safetensors")}
    assert {f"companion.{name}" for name in beside} <= stepped
    first = load_file(tmp_path / "run" / "step_000002" / "companion.safetensors")
    assert any(not first[name].equal(x) for name, x in beside.items())


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
