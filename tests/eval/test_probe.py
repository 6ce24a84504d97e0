"""Probes: scikit-learn's own figures, CLIP's search for C, few shots, and votes of neighbours."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from calligram.data.manifest import Manifest
from calligram.eval import train_features
from calligram.eval.neighbours import neighbour_scores
from calligram.eval.probe import FIRST, SWEEP, choose_c, few_shots, fit, most_frequent, search
from calligram.eval.task import EvalConfig, Models
from calligram.eval.tasks import few_shot, linear_probe
from calligram.eval.tasks.few_shot import FewShot
from calligram.eval.tasks.linear_probe import LinearProbe
from calligram.eval.train_features import Lesson, can_learn


def case(num=400, num_classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    class_N = torch.randint(0, num_classes, (num,), generator=generator)
    centre_CE = torch.randn(num_classes, 12, generator=generator)
    feature_NE = F.normalize(centre_CE[class_N] + 1.5 * torch.randn(num, 12, generator=generator), dim=1)
    return feature_NE.numpy(), class_N.numpy()


def test_the_probe_is_scikit_learns():
    x, y = case()
    plain = LogisticRegression(C=3.0, max_iter=1000, solver="lbfgs").fit(x[:300], y[:300])
    ours = fit(x[:300], y[:300], 3.0)
    assert np.array_equal(ours.predict(x[300:]), plain.predict(x[300:]))
    assert np.array_equal(ours.coef_, plain.coef_)
    assert 0.4 < ours.score(x[300:], y[300:]) < 1


@pytest.mark.parametrize("top", [0, 3, 17, 47, 60, 94, 95])
def test_the_search_finds_the_top_of_a_hill(top):
    asked = []

    def hill(c):
        asked.append(c)
        return -abs(np.log(c) - np.log(SWEEP[top]))

    assert search(hill) == SWEEP[top]
    assert len(SWEEP) == 96 and len(set(asked)) == len(asked) < 25 and len(FIRST) == 7


def test_of_equals_the_simplest_is_taken():
    assert search(lambda c: 1.0) == pytest.approx(1e-6)


def test_c_is_not_chosen_at_an_end_of_the_range():
    assert 1e-6 < choose_c(*case(num=100)) < 1e6


def test_few_shots_are_so_many_of_each_class():
    class_N = np.array([2, 0, 0, 2, 1, 2, 2, 0])
    rows = few_shots(class_N, 2, np.random.default_rng(0))
    assert np.bincount(class_N[rows]).tolist() == [2, 1, 2] and len(set(rows)) == 5
    drawn = {tuple(few_shots(class_N, 1, np.random.default_rng(seed))) for seed in range(20)}
    assert len(drawn) > 3
    assert most_frequent(class_N, 2).tolist() == [0, 2] and most_frequent(class_N, 9).tolist() == [0, 1, 2]


def test_neighbours_vote_as_scikit_learns_do():
    x, y = case()

    def weights(distance):  # of unit vectors: |a - b|² = 2 - 2 cosine
        return np.exp((1 - distance**2 / 2) / 0.07)

    plain = KNeighborsClassifier(20, weights=weights, algorithm="brute").fit(x[:300].astype(np.float64), y[:300])
    known, asked = torch.from_numpy(x[:300]), torch.from_numpy(x[300:])
    votes = neighbour_scores(known, torch.from_numpy(y[:300]), asked, 4)
    assert np.array_equal(votes.argmax(1).numpy(), plain.predict(x[300:].astype(np.float64)))
    few = neighbour_scores(known[:3], torch.from_numpy(y[:3]), asked, 4)  # fewer than K are known
    assert few.shape == (100, 4) and (few > 0).sum(1).max() <= 3


@pytest.fixture
def taught(monkeypatch):
    """The tasks on given features, with true or with shuffled classes to learn from."""

    def teach(shuffled=False):
        x, y = case(num=600)
        train_N = np.random.default_rng(0).permutation(y[:300]) if shuffled else y[:300]
        found = Lesson(x[:300], train_N, x[300:], y[300:])
        for module in (linear_probe, few_shot):
            monkeypatch.setattr(module, "lesson", lambda *args: found)

    return teach


def figures(task):
    return dict(task.run(Models(clip=object()), "", EvalConfig()))  # pyright: ignore[reportArgumentType]


def test_shuffled_classes_teach_nothing(taught):
    taught()
    honest = figures(LinearProbe())["clip.linear_probe.top1"], figures(FewShot())["clip.few_shot.8_shot_top1"]
    taught(shuffled=True)
    found = figures(LinearProbe())["clip.linear_probe.top1"], figures(FewShot())["clip.few_shot.8_shot_top1"]
    # chance, but for what 300 pictures tell by accident
    assert honest[0].low > 0.4 and honest[1].low > 0.35
    assert all(each.low - 0.08 <= 0.25 <= each.high + 0.08 for each in found)


def test_more_shots_teach_more(taught):
    taught()
    found = figures(FewShot())
    assert found["clip.few_shot.16_shot_top1"].value > found["clip.few_shot.1_shot_top1"].value
    assert found["clip.few_shot.num_draws"] == 3 and found["clip.few_shot.1_shot_spread"] > 0


def test_only_the_most_frequent_classes_are_learnt(monkeypatch):
    parts = {
        "train": (torch.eye(6), torch.tensor([5, 5, 5, 1, 1, 3])),
        "test": (torch.eye(6)[:3], torch.tensor([3, 1, 5])),
    }
    monkeypatch.setattr(train_features, "embed_classed", lambda clip, data, split, number: parts[split])
    found = train_features.lesson(None, "", EvalConfig(), 2)  # pyright: ignore[reportArgumentType]
    assert found.train_N.tolist() == [5, 5, 5, 1, 1] and found.test_B.tolist() == [1, 5]
    assert np.array_equal(found.test_BE, np.eye(6)[1:3])
    assert len(train_features.lesson(None, "", EvalConfig()).test_B) == 3  # pyright: ignore[reportArgumentType]


def test_without_a_training_split_there_is_nothing_to_learn():
    def manifest(*splits):
        shard = {"file": "a.tar", "num_samples": 1, "num_bytes": 1, "sha256": ""}
        facts = {"name": "a", "licence": "", "class_names": ["a", "b"], "splits": {split: [shard] for split in splits}}
        return Manifest.model_validate(facts)

    assert can_learn(manifest("train", "test"), EvalConfig())
    assert not can_learn(manifest("test"), EvalConfig())
    assert not can_learn(manifest("train", "test"), EvalConfig(split="train"))
