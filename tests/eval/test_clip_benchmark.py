"""CLIP_benchmark itself on our exports: a model trained here, data written here, and the figures of our harness."""

import json
import sys

import pytest

from calligram.clip.load import load_model
from calligram.clip.model import ClipConfig
from calligram.clip.towers import TextTowerConfig, ViTConfig
from calligram.clip.weights.export import export_open_clip
from calligram.data.layout import lay_out
from calligram.data.training import DataConfig
from calligram.eval.runner import evaluate, load_models
from calligram.eval.task import EvalConfig
from calligram.nn.transformer import TransformerConfig
from calligram.presets.build import start
from calligram.presets.config import ClipRun
from calligram.tokenizers.text_config import TextTokenizerConfig
from calligram.train.config import TrainConfig
from tests.data.test_layout import classed  # noqa: F401  # a fixture

theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")


@pytest.fixture
def mended(monkeypatch):
    """Its accuracy makes a number of an array of one, which NumPy 2.4 and later refuse."""

    def accuracy(output, target, topk=(1,)):
        right = target == output.topk(max(topk), 1)[1].T
        return [float(right[:k].any(0).float().mean()) for k in topk]

    monkeypatch.setattr(theirs, "accuracy", accuracy)


def test_its_figures_are_those_of_our_harness(classed, tmp_path, monkeypatch, mended):  # noqa: F811
    small = TransformerConfig(width=32, num_layers=1, num_heads=2)
    model = ClipConfig(
        image_size=16,
        embed_dim=16,
        image=ViTConfig(patch=8, pool="class", pre_norm=True, patch_bias=False, transformer=small),
        text=TextTowerConfig(transformer=small),
    )
    run = ClipRun(
        data=DataConfig(shards=classed, num_workers=0),
        model=model,
        text_tokenizer=TextTokenizerConfig(vocab_size=300),
        train=TrainConfig(steps=80, batch_size=8, lr=3e-3, warmup_steps=2, save_every=80),
    )
    start(run, tmp_path / "run")
    export_open_clip(*load_model(tmp_path / "run"), tmp_path / "exported")
    lay_out(classed, tmp_path / "data")
    ours = evaluate(load_models([tmp_path / "run"]), classed, EvalConfig(), ["zero-shot"])

    command = f"clip_benchmark eval --dataset wds/data --dataset_root {tmp_path}/data --task zeroshot_classification"
    command += f" --model local-dir:{tmp_path}/exported --num_workers 0 --no_amp"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--output", str(tmp_path / "out.json"), "--pretrained", ""])
    from clip_benchmark.cli import main

    main()
    found = json.loads((tmp_path / "out.json").read_text())["metrics"]
    count = ours["clip.zero_shot.num_samples"]
    assert 0.5 < ours["clip.zero_shot.top1"] <= 1
    assert found["acc1"] == pytest.approx(ours["clip.zero_shot.top1"], abs=1.5 / count)
    assert found["mean_per_class_recall"] > 0
