"""Tasks that compare what was drawn or rebuilt with real pictures: planted defects show in the figures for them."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.eval import drawings, sets
from calligram.eval.decoder_features import layer_means
from calligram.eval.drawings import draw_split, spread
from calligram.eval.runner import load_models, tasks
from calligram.eval.spaces import ClipSpace
from calligram.eval.task import EvalConfig, Models
from calligram.eval.tasks import decoder_probe, diversity, r_precision
from calligram.eval.tasks.clip_score import scores
from calligram.tokenizers.lpips import load_lpips

SMALL = EvalConfig(num_drawings=9, num_variants=3)


@pytest.fixture(scope="module")
def models(tiny_runs) -> Models:
    loaded = load_models([tiny_runs.tokenizer, tiny_runs.clip, tiny_runs.dalle])
    assert loaded.clip is not None
    return dataclasses.replace(loaded, space=ClipSpace(loaded.clip, "clip_tiny"))


@pytest.fixture(autouse=True)
def fresh():
    """No test sees what another has drawn."""
    sets.forget()
    yield
    sets.forget()


def measured(name: str, models: Models, tiny_runs, config: EvalConfig = SMALL) -> dict[str, float]:
    found = dict(tasks()[name].run(models, tiny_runs.shards, config))
    return {key: float(value) for key, value in found.items() if not isinstance(value, Image.Image)}


def squares(tiny_runs, split: str, number: int) -> torch.Tensor:
    shards = Shards(tiny_runs.shards, split)
    return torch.stack([shards[i % len(shards)].square(16) for i in range(number)])


def draws(monkeypatch, images: torch.Tensor) -> None:
    """From now on the generator gives these pictures, over and over."""

    def draw(dalle, captions, seeds, title):
        return torch.stack([images[i % len(images)] for i in range(len(captions))])

    monkeypatch.setattr(drawings, "draw", draw)
    monkeypatch.setattr(diversity, "draw", draw)


def test_each_caption_is_drawn_once_for_all_tasks(models, tiny_runs, monkeypatch):
    first = draw_split(models.dalle, tiny_runs.shards, SMALL)
    assert draw_split(models.dalle, tiny_runs.shards, SMALL) is first
    assert draw_split(models.dalle, tiny_runs.shards, SMALL.model_copy(update={"seed": 1})) is not first
    shards = Shards(tiny_runs.shards, "test")
    assert all(c in shards[i].captions for i, c in zip(first.numbers, first.captions, strict=True))
    wanted = models.dalle.draw(list(first.captions), range(9))
    assert torch.equal(first.images, wanted)
    drawings.forget()
    again = draw_split(models.dalle, tiny_runs.shards, SMALL)
    assert again is not first and torch.equal(again.images, first.images)


def test_a_long_caption_is_cut(models):
    assert drawings.draw(models.dalle, ["a red square " * 40], [0], "draw").shape == (1, 3, 16, 16)


def test_samples_are_taken_from_all_over():
    assert spread(10, 4) == [0, 2, 5, 7] and spread(3, 9) == [0, 1, 2]


def test_a_generator_that_memorises_shows_in_the_neighbours(models, tiny_runs, monkeypatch):
    draws(monkeypatch, squares(tiny_runs, "train", 9))
    name = "dalle.neighbours_clip_tiny"
    found = measured("neighbours", models, tiny_runs)
    assert found[f"{name}.as_near_as_5_percent"] == found[f"{name}.as_near_as_half"] == 1
    # nearly: a vector differs in its last digits with the batch that it was computed in
    assert found[f"{name}.distance"] < 1e-4 < found[f"{name}.test_distance"]
    assert found[f"{name}.num_training_pictures"] == 45 and found[f"{name}.searched"] == 1


def test_a_generator_that_draws_as_the_source_does_is_not_accused(models, tiny_runs, monkeypatch):
    draws(monkeypatch, squares(tiny_runs, "test", 9))
    found = measured("neighbours", models, tiny_runs)
    assert found["dalle.neighbours_clip_tiny.as_near_as_half"] == pytest.approx(5 / 9)
    assert found["dalle.neighbours_clip_tiny.as_near_as_5_percent"] <= 1 / 9


def test_a_generator_that_repeats_one_picture_shows_in_diversity_and_recall(models, tiny_runs, monkeypatch):
    draws(monkeypatch, squares(tiny_runs, "test", 1))
    found = measured("diversity", models, tiny_runs) | measured("precision-recall", models, tiny_runs)
    assert found["dalle.diversity_clip_tiny"] < 1e-4 < found["dalle.diversity_clip_tiny.of_real_pictures"]
    assert found["dalle.diversity_clip_tiny.distinct"] == 0
    assert found["dalle.recall_clip_tiny"] <= 1 / 9 and found["dalle.precision_clip_tiny"] == 1
    sets.forget()
    draws(monkeypatch, squares(tiny_runs, "test", 9))
    found = measured("diversity", models, tiny_runs) | measured("precision-recall", models, tiny_runs)
    assert found["dalle.recall_clip_tiny"] == 1 and found["dalle.diversity_clip_tiny.distinct"] == 1
    assert found["dalle.diversity_clip_tiny"] > 1e-3


def test_real_pictures_are_at_no_distance_from_themselves(models, tiny_runs, monkeypatch):
    draws(monkeypatch, squares(tiny_runs, "test", 9))
    near = {name: measured(name, models, tiny_runs)[f"dalle.{name}_clip_tiny"] for name in ("fid", "kid", "cmmd")}
    sets.forget()
    draws(monkeypatch, torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    far = {name: measured(name, models, tiny_runs)[f"dalle.{name}_clip_tiny"] for name in near}
    assert near["fid"] == pytest.approx(0, abs=1e-4) and near["cmmd"] == pytest.approx(0, abs=1e-4)
    assert all(far[name] > near[name] for name in near)


def test_a_tokenizer_with_half_its_codes_disabled_shows_in_usage(models, tiny_runs, monkeypatch):
    tokens = models.tokenizer.grid**2

    def encode(self, images):
        """All codes come; the tiny tokenizer itself has not learnt to use them."""
        return torch.arange(len(images) * tokens).reshape(-1, tokens) % 16

    monkeypatch.setattr(type(models.tokenizer), "encode", encode)
    whole = measured("reconstruction", models, tiny_runs)
    monkeypatch.setattr(type(models.tokenizer), "encode", lambda self, images: encode(self, images) // 2 * 2)
    half = measured("reconstruction", models, tiny_runs)
    assert (whole["tokenizer.usage"], half["tokenizer.usage"]) == (1, 0.5)
    assert (whole["tokenizer.dead_codes"], half["tokenizer.dead_codes"]) == (0, 8)
    assert whole["tokenizer.perplexity"] == pytest.approx(16) and half["tokenizer.perplexity"] == pytest.approx(8)
    assert half["tokenizer.bits_per_picture"] == whole["tokenizer.bits_per_picture"] == 4 * tokens
    assert half["tokenizer.entropy_bits_per_picture"] == pytest.approx(3 * tokens, rel=1e-5)


def test_reconstruction_is_what_torchmetrics_says(models, tiny_runs):
    from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

    images = squares(tiny_runs, "test", 9) / 255
    with torch.no_grad():
        decoded = models.tokenizer.decode(models.tokenizer.encode(images))
    found = measured("reconstruction", models, tiny_runs)
    psnr, ssim = PeakSignalNoiseRatio(data_range=1.0), StructuralSimilarityIndexMeasure(data_range=1.0)
    assert found["tokenizer.psnr_db"] == pytest.approx(psnr(decoded, images).item(), rel=1e-5)
    assert found["tokenizer.ssim"] == pytest.approx(ssim(decoded, images).item(), rel=1e-5)


def test_rfid_of_a_tokenizer_that_loses_nothing_is_zero(models, tiny_runs, monkeypatch):
    lossy = measured("rfid", models, tiny_runs)["tokenizer.rfid_clip_tiny"]
    monkeypatch.setattr(type(models.tokenizer), "encode", lambda self, images: images)
    monkeypatch.setattr(type(models.tokenizer), "decode", lambda self, images: images)
    assert measured("rfid", models, tiny_runs)["tokenizer.rfid_clip_tiny"] < 1e-4 < lossy


@pytest.mark.slow  # makes up 15 million weights
def test_lpips_where_there_are_weights(models, tiny_runs, tmp_path):
    import torchvision

    torch.manual_seed(0)
    state = torchvision.models.vgg16(weights=None).features.state_dict()
    torch.save({f"features.{name}": x for name, x in state.items()}, tmp_path / "vgg16.pth")
    config = SMALL.model_copy(update={"lpips": str(tmp_path / "vgg16.pth")})
    manifest = Manifest.load(tiny_runs.shards)
    assert tasks()["lpips"].applies_to(manifest, config) and not tasks()["lpips"].applies_to(manifest, SMALL)
    images = squares(tiny_runs, "test", 9) / 255
    with torch.no_grad():
        decoded = models.tokenizer.decode(models.tokenizer.encode(images))
        wanted = load_lpips(tmp_path / "vgg16.pth")(decoded, images)
    found = measured("lpips", models, tiny_runs, config)
    assert found["tokenizer.lpips_vgg"] == pytest.approx(float(wanted), rel=1e-4) and wanted > 0


def test_the_clip_score_is_a_cosine_and_never_below_zero(models, monkeypatch):
    image_BE = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    monkeypatch.setattr(type(models.clip), "embed_images", lambda self, images: image_BE)
    monkeypatch.setattr(type(models.clip), "embed_texts", lambda self, texts, strict: torch.tensor([[0.8, 0.6]] * 3))
    found = scores(models.clip, torch.zeros(3, 3, 16, 16, dtype=torch.uint8), ("a", "b", "c"))
    torch.testing.assert_close(found, torch.tensor([80.0, 60.0, 0.0]))


def test_real_pictures_are_scored_beside_the_drawings(models, tiny_runs, monkeypatch):
    draws(monkeypatch, squares(tiny_runs, "test", 9))
    for name in ("clip-score", "r-precision"):
        found = measured(name, models, tiny_runs)
        key = f"dalle.{name.replace('-', '_')}"
        assert found[f"{key}.drawn"] == pytest.approx(found[f"{key}.real"])


def test_wrong_captions_are_not_true_of_the_picture():
    pool = [str(number) for number in range(300)]
    true = [("0", "1"), ("5",)]
    found = r_precision.candidates(pool, ["1", "5"], true, seed=0)
    assert [each[0] for each in found] == [1, 5] and all(len(set(each)) == 100 for each in found)
    assert 0 not in found[0][1:] and found == r_precision.candidates(pool, ["1", "5"], true, seed=0)
    few = r_precision.candidates(pool[:4], ["1"], true[:1], seed=0)
    assert sorted(few[0]) == [1, 2, 3]


def test_r_precision_is_100_for_a_clip_that_knows_and_chance_for_one_that_does_not():
    text_PE = torch.eye(200)
    columns = r_precision.candidates([str(i) for i in range(200)], [str(i) for i in range(200)], [()] * 200, 0)
    assert all(r_precision.hits(text_PE, text_PE, columns))
    blind = torch.randn(200, 200, generator=torch.Generator().manual_seed(0))
    assert sum(r_precision.hits(blind, text_PE, columns)) < 10
    assert not any(r_precision.hits(torch.ones(200, 200), text_PE, columns))  # ties


def test_layers_of_the_decoder_are_those_of_a_plain_pass(models, tiny_runs):
    dalle = models.dalle
    tokens = dalle.encode(squares(tiny_runs, "test", 4))
    text = dalle.model.drop_text(dalle.text_tokenizer([""] * 4))
    found = []
    hooks = [
        block.register_forward_hook(lambda module, inputs, output: found.append(output))
        for block in dalle.model.transformer.blocks
    ]
    with torch.no_grad():
        dalle.model(text, tokens)
    for hook in hooks:
        hook.remove()
    wanted = torch.stack([x[:, dalle.model.text_length :].mean(1) for x in found])
    torch.testing.assert_close(layer_means(dalle, tokens), wanted, atol=1e-5, rtol=1e-4)


def test_the_probe_finds_the_layer_that_knows_and_chance_where_none_does(models, tiny_runs, monkeypatch):
    rng = np.random.default_rng(0)
    classes = {"train": rng.integers(0, 4, 400), "test": rng.integers(0, 4, 200)}

    def embed(knows):
        def features(dalle, shards, number):
            labels = classes[shards.split]
            noise = rng.normal(size=(2, len(labels), 6))
            noise[1, :, :4] += 5 * knows * np.eye(4)[labels]
            return noise, labels

        return features

    monkeypatch.setattr(decoder_probe, "embed", embed(1))
    found = measured("decoder-probe", models, tiny_runs)
    assert found["dalle.decoder_probe.best_layer"] == 2 and found["dalle.decoder_probe.top1"] > 0.95
    assert found["dalle.decoder_probe.validation_layer_1"] < 0.5
    monkeypatch.setattr(decoder_probe, "embed", embed(0))
    value = dict(tasks()["decoder-probe"].run(models, tiny_runs.shards, SMALL))["dalle.decoder_probe.top1"]
    assert value.low - 0.05 < 0.25 < value.high + 0.05
