"""Figures of scores of classes: those of the libraries, and chance where labels are shuffled."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error, multilabel_average_precision

from calligram.eval.classification import average_precision, calibration_error, classification
from calligram.eval.confusion import SHOWN, confusion_picture, most_confused


def case(num=600, num_classes=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    class_B = torch.randint(0, num_classes - 1, (num,), generator=generator).clamp(min=1)  # 0 and the last have none
    score_BC = torch.randn(num, num_classes, generator=generator)
    score_BC[torch.arange(num), class_B] += 1
    return score_BC, class_B


def test_figures_are_those_of_the_libraries():
    score_BC, class_B = case()
    found = dict(classification(score_BC, class_B, 2.5))
    recall = balanced_accuracy_score(class_B, score_BC.argmax(1))
    assert found["mean_per_class_recall"].value == pytest.approx(recall, abs=1e-9)
    error = multiclass_calibration_error((2.5 * score_BC).softmax(1), class_B, 8, n_bins=15, norm="l1")
    assert found["calibration_error"].value == pytest.approx(float(error), abs=1e-6) and error > 0.05
    assert found["top1"].value < found["top5"].value
    for name, value in found.items():
        assert value.low <= value.high and value.count == 600, name
    assert found["top1"].low < found["top1"].value < found["top1"].high


def test_figures_are_those_of_clip_benchmark(monkeypatch):
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    score_BC, class_B = case()
    found = dict(classification(score_BC, class_B, 1.0))
    right = class_B == score_BC.topk(5, 1)[1].T  # their accuracy, whose last step NumPy 2.4 refuses
    assert found["top1"].value == pytest.approx(float(right[:1].any(0).float().mean()), abs=1e-4)
    assert found["top5"].value == pytest.approx(float(right.any(0).float().mean()), abs=1e-4)
    labels = torch.rand(600, 8, generator=torch.Generator().manual_seed(1)) < 0.3
    precision = theirs.average_precision_per_class(score_BC, labels)
    assert average_precision(score_BC, labels, 2).value == pytest.approx(float(precision.mean()), abs=1e-4)


def test_confidence_that_is_full_belongs_to_the_last_bin():
    # two pictures, sure of both, right about one: 0.5, whether it is 1 or a little less
    for sure in (1.0, 0.99):
        found = calibration_error(torch.tensor([sure, sure]).double(), torch.tensor([True, False]))
        assert found.value == pytest.approx(sure - 0.5)


def test_shuffled_labels_are_right_by_chance():
    score_BC, class_B = case(num=2000)
    shuffled = class_B[torch.randperm(len(class_B), generator=torch.Generator().manual_seed(2))]
    shares = torch.bincount(class_B, minlength=8) / len(class_B)
    chance = float((torch.bincount(score_BC.argmax(1), minlength=8) / len(class_B) * shares).sum())
    honest, found = (dict(classification(score_BC, labels, 2.5)) for labels in (class_B, shuffled))
    assert found["top1"].low <= chance <= found["top1"].high < honest["top1"].low
    recall = found["mean_per_class_recall"]
    assert recall.low <= 1 / 8 <= recall.high < honest["mean_per_class_recall"].low
    assert found["calibration_error"].low > honest["calibration_error"].high  # sure of what is not so


def test_mean_average_precision_is_that_of_the_libraries():
    generator = torch.Generator().manual_seed(0)
    score_BC = (torch.randn(300, 6, generator=generator) * 4).round() / 4  # with ties
    right_BC = torch.rand(300, 6, generator=generator) < torch.tensor([0.5, 0.2, 0.1, 0.05, 0.9, 0.0])
    score_BC[right_BC] += 0.5
    ours = average_precision(score_BC, right_BC)
    sklearn = average_precision_score(right_BC[:, :5], score_BC[:, :5], average="macro")
    assert ours.value == pytest.approx(sklearn, abs=1e-9)
    theirs = multilabel_average_precision(score_BC[:, :5], right_BC[:, :5].long(), 5)
    assert ours.value == pytest.approx(float(theirs), abs=1e-5)
    assert ours.low < ours.value < ours.high


def test_a_resample_is_the_figure_of_the_pictures_drawn(monkeypatch):
    from calligram.eval import classification as module

    taken = []
    monkeypatch.setattr(module, "bootstrap", lambda statistic, count, resamples: taken.append(statistic))
    generator = torch.Generator().manual_seed(0)
    score_BC, right_BC = torch.randn(50, 3, generator=generator), torch.rand(50, 3, generator=generator) < 0.4
    module.average_precision(score_BC, right_BC)
    rows = np.random.default_rng(0).integers(0, 50, 50)
    expected = average_precision_score(right_BC[rows], score_BC[rows], average="macro")
    assert taken[0](rows) == pytest.approx(expected, abs=1e-9)


def test_the_confusion_is_drawn_as_it_is():
    class_B = torch.tensor([0, 0, 1, 1])
    right = confusion_picture(class_B, class_B, ["cat", "dog"])
    wrong = confusion_picture(1 - class_B, class_B, ["cat", "dog"])
    assert right.mode == "RGB" and right.size == wrong.size and right.tobytes() != wrong.tobytes()
    assert min(right.size) > 150


def test_of_many_classes_the_confused_ones_are_shown():
    count_CC = np.eye(100) * 5
    count_CC[70, 3], count_CC[99, 98] = 2, 1
    assert most_confused(count_CC, 4) == [3, 70, 98, 99]
    assert most_confused(count_CC[:5, :5], SHOWN) == [0, 1, 2, 3, 4]
    class_B = torch.arange(100)
    assert confusion_picture(class_B.roll(1), class_B, [f"$class {i}_" for i in range(100)]).width < 1200
