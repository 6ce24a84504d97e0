"""A metric is known by its suffix: title, unit and direction; one that nobody knows is shown as it is."""

import pytest

from calligram.eval.page.metrics import METRICS, describe


@pytest.mark.parametrize(
    ("name", "label", "better"),
    [
        ("clip.zero_shot.top1", "Top-1 accuracy ↑", "higher"),
        ("clip.zero_shot.holdout_top1", "Top-1 accuracy, held out ↑", "higher"),
        ("clip.retrieval.text_recall_at_10", "Text recall@10 ↑", "higher"),
        ("clip.retrieval.image_median_rank", "Image median rank ↓", "lower"),
        ("clip.zero_shot.ece", "Expected calibration error ↓", "lower"),
        ("clip.robustness.gaussian_noise.top1", "Gaussian noise: top-1 accuracy ↑", "higher"),
        ("dalle.generative_zero_shot.clip_top5", "Clip top-5 accuracy ↑", "higher"),
        ("tokenizer.psnr_db", "PSNR (dB) ↑", "higher"),
        ("tokenizer.rfid_inception", "rFID (inception) ↓", "lower"),
        ("dalle.distance.fid_clip-shapes", "FID (clip-shapes) ↓", "lower"),
        ("dalle.distance.kid_inception_v3", "KID (inception v3) ↓", "lower"),
        ("dalle.distance.recall_inception", "Recall (inception) ↑", "higher"),
        ("dalle.bits_per_token", "Bits per token ↓", "lower"),
        ("dalle.composition.holdout_kind_two_object", "Two object captions, held out ↑", "higher"),
        ("clip.zero_shot.num_samples", "Number of samples", None),
        ("tokenizer.perplexity", "Perplexity of the codes", None),
        ("odd.never_heard_of", "Never heard of", None),
        ("desktop1", "Desktop1", None),
        ("", "?", None),
        ("a..", "?", None),
    ],
)
def test_metrics_by_suffix(name, label, better):
    assert (describe(name).label, describe(name).better, describe(name).name) == (label, better, name)


def test_no_entry_hides_behind_an_earlier_one():
    for suffix, title, unit, better in METRICS:
        found = describe("a.b." + suffix.replace("*", "some"))
        expected = title.format("some")
        assert (found.title.lower(), found.unit, found.better) == (expected.lower(), unit, better)
