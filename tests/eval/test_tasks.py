"""Every evaluation task: found by itself, runs on tiny models, and its figures mean what they say."""

import math
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image

from calligram.dalle.classifier import GenerativeClassifier
from calligram.data.dataset import Shards
from calligram.data.manifest import Manifest
from calligram.data.shapes.scene import KINDS
from calligram.data.sources.folder import FolderSource
from calligram.data.sources.shapes import ShapesSource
from calligram.data.writer import write_shards
from calligram.errors import UserError
from calligram.eval import runner
from calligram.eval.estimate import Estimate
from calligram.eval.runner import evaluate, load_models, measure, tasks
from calligram.eval.spaces import ClipSpace
from calligram.eval.task import EvalConfig, Models
from calligram.eval.tasks import completion
from calligram.eval.tasks.composition import choose_orders, draw_orders, is_right, judge, summarise
from calligram.pictures import to_tensor

SMALL = EvalConfig(num_captions=3, num_candidates=2, num_drawings=9, num_variants=3)
# no means over samples: counts, facts of a model, and what a whole split says about a vocabulary
EXACT = re.compile(
    r"num_\w+$|\.tokens_per_picture$|\.kept_tokens$|\.usage$|\.perplexity$|\.dead_codes$|^tokenizer\.\w*bits_per_picture$"
    # what was chosen and how, how far draws lie apart, what there is to compare with
    r"|linear_probe\.c$|\.best_layer$|\.validation_layer_\d+$|_shot_spread$|\.searched$|\.of_real_pictures$"
)
# weights of a network, or data of a kind, that is not here: their own tests make some up
ELSEWHERE = {"lpips", "multi-label", "winoground"}


@pytest.fixture(scope="module")
def models(tiny_runs) -> Models:
    loaded = load_models([tiny_runs.tokenizer, tiny_runs.clip, tiny_runs.dalle])
    assert loaded.clip is not None
    return replace(loaded, space=ClipSpace(loaded.clip, "clip_tiny"))


@pytest.fixture(scope="module")
def results(models, tiny_runs) -> dict[str, float]:
    return evaluate(models, tiny_runs.shards, SMALL)


def test_the_tasks_are_found():
    assert {"zero-shot", "retrieval", "negatives", "reconstruction", "likelihood", "composition"} <= set(tasks())


@pytest.mark.parametrize("name", sorted(tasks().keys() - ELSEWHERE))
def test_every_task_keeps_its_promises(name, models, tiny_runs):
    """Dotted names of a part that it needs; finite numbers within their intervals; the same when asked again."""
    task = tasks()[name]
    values = measure(task, models, tiny_runs.shards, SMALL)
    numbers = {key: value for key, value in values.items() if not isinstance(value, Image.Image)}
    assert numbers
    for key in values:
        assert re.fullmatch(r"(clip|tokenizer|dalle)(\.[a-z0-9_]+)+", key) and key.split(".")[0] in task.needs
    for key, value in numbers.items():
        # a category of which no caption was drawn is absent, not a NaN
        assert math.isfinite(float(value)), key
        if isinstance(value, Estimate):
            assert value.low <= value.value <= value.high and value.count >= 1, key
    again = measure(task, models, tiny_runs.shards, SMALL)
    assert {key: value for key, value in again.items() if key in numbers} == numbers
    assert evaluate(models, tiny_runs.shards, SMALL, [name]) == {key: float(value) for key, value in numbers.items()}


@pytest.mark.parametrize("name", sorted(tasks().keys() - ELSEWHERE))
def test_what_is_measured_on_samples_has_an_interval(name, models, tiny_runs):
    values = measure(tasks()[name], models, tiny_runs.shards, SMALL)
    bare = [key for key, value in values.items() if isinstance(value, int | float)]
    assert [key for key in bare if not EXACT.search(key)] == []
    assert len(bare) < len(values)


@pytest.mark.parametrize("name", sorted(tasks()))
def test_a_task_depends_on_fields_that_there_are(name):
    task = tasks()[name]
    assert set(task.reads or ()) <= EvalConfig.model_fields.keys()
    assert set(task.needs) <= set(task.takes()) <= {"clip", "tokenizer", "dalle", "space"} and task.version >= 1


def test_shares_are_shares(results):
    shares = [v for k, v in results.items() if "top" in k or "recall" in k or "all_right" in k or "usage" in k]
    assert shares and all(0 <= share <= 1 for share in shares)


def test_top_5_is_no_worse_than_top_1(results):
    assert results["clip.zero_shot.top5"] >= results["clip.zero_shot.top1"]


def test_an_untrained_decoder_is_as_surprised_as_chance(results, models):
    # six steps of training leave it near a uniform guess over the vocabulary
    assert results["dalle.bits_per_token"] == pytest.approx(math.log2(models.dalle.image_tokenizer.vocab_size), abs=0.7)


def test_results_do_not_depend_on_the_run(models, tiny_runs, results):
    assert evaluate(models, tiny_runs.shards, SMALL) == results


def test_a_task_without_its_model_says_which_is_missing(models, tiny_runs):
    with pytest.raises(UserError, match="composition cannot run: it needs a dalle run"):
        evaluate(Models(clip=models.clip), tiny_runs.shards, SMALL, ["composition"])


def test_unknown_task_and_split(models, tiny_runs):
    with pytest.raises(UserError, match="did you mean zero-shot"):
        runner.check_tasks(["zeroshot"])
    with pytest.raises(UserError, match="split 'validation'"):
        evaluate(models, tiny_runs.shards, EvalConfig(split="validation"))


def test_data_without_a_holdout_split_is_evaluated_without_it(models, tmp_path):
    write_shards(ShapesSource(num_samples=1, num_test=9, num_holdout=0), tmp_path / "shards")
    found = evaluate(models, tmp_path / "shards", SMALL)
    assert "dalle.composition.all_right" in found and not any("holdout" in key for key in found)


def test_a_caption_that_is_too_long_is_cut(models, tmp_path):
    for number in range(4):
        Image.new("RGB", (20, 20), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a red square " * 40 + str(number))
    write_shards(FolderSource(root=tmp_path, test_fraction=0.5), tmp_path / "shards")
    found = evaluate(models, tmp_path / "shards", SMALL, ["retrieval"])
    assert found["clip.retrieval.num_samples"] == 2


def test_negatives_count_pictures_that_are_nearer_to_the_truth(models, tiny_runs, monkeypatch):
    shards = Shards(tiny_runs.shards, "test")
    true = {caption for i in range(len(shards)) for caption in shards[i].captions}
    to_the_truth = {True: 1.0, False: 0.0}

    def embed_texts(self, texts, strict=True):
        return torch.tensor([[to_the_truth[text in true]] for text in texts])

    monkeypatch.setattr(type(models.clip), "embed_texts", embed_texts)
    monkeypatch.setattr(type(models.clip), "embed_prepared", lambda self, images: torch.ones(len(images), 1))
    found = evaluate(models, tiny_runs.shards, SMALL, ["negatives"])
    # a negative may be true of another picture; of ties none counts
    by_hand = [shards[i].negatives[i % 4] not in true for i in range(len(shards))]
    assert found["clip.negatives.accuracy"] == pytest.approx(sum(by_hand) / len(by_hand)) and sum(by_hand) > 0
    kinds = {shards[i].meta["kind"].replace("-", "_") for i in range(len(shards))}
    assert {f"clip.negatives.kind_{kind}" for kind in kinds} <= found.keys()
    assert found["clip.negatives.num_samples"] == len(shards)


def test_data_without_negatives_has_nothing_to_ask(models, tmp_path):
    for number in range(4):
        Image.new("RGB", (20, 20), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a red square")
    write_shards(FolderSource(root=tmp_path, test_fraction=0.5), tmp_path / "shards")
    assert not any("negatives" in key for key in evaluate(models, tmp_path / "shards", SMALL))
    with pytest.raises(UserError, match="task negatives finds nothing to measure in"):
        evaluate(models, tmp_path / "shards", SMALL, ["negatives"])


def test_two_seeds_share_no_drawing(models, tiny_runs):
    orders = choose_orders(Shards(tiny_runs.shards, "test"), 3)
    drawn = []
    for seed in (0, 1):
        config = SMALL.model_copy(update={"seed": seed})
        drawn += [d.images for d in draw_orders(models.dalle, None, orders, config, "draw")]
    candidates = [image.numpy().tobytes() for images in drawn for image in images]
    assert len(set(candidates)) == len(candidates) == 12


def test_two_runs_of_a_kind_are_refused(tiny_runs):
    with pytest.raises(UserError, match="second clip run"):
        load_models([tiny_runs.clip, tiny_runs.clip])


def test_orders_come_in_equal_parts_and_their_pictures_are_right(tiny_runs):
    shards = Shards(tiny_runs.shards, "train")
    orders = choose_orders(shards, 30)
    assert [sum(order.kind == kind for order in orders) for kind in KINDS] == [10, 10, 10]
    by_caption = {(caption): shards[i] for i in range(len(shards)) for caption in shards[i].captions}
    for order in orders:
        assert is_right(to_tensor(by_caption[order.caption].image()), order.claims)


def test_what_is_given_comes_back_as_it_was_given(results):
    assert results["dalle.completion.kept_tokens"] == 1
    assert results["dalle.completion.num_samples"] == 3
    assert not any(key.startswith("dalle.completion.position") for key in results)


def test_a_picture_that_is_completed_as_it_was_reaches_the_most_there_is(models, tiny_runs, monkeypatch):
    def as_it_was(dalle, halves, keep_N, config):
        return ((half, half.tokens_N.expand(2, -1)) for half in halves)

    monkeypatch.setattr(completion, "complete", as_it_was)
    # the tokenizer is hardly trained: the oracle finds something in its pictures only now and then, so it is asked
    # about the pictures themselves
    truth = iter([True, False, True] * 9)
    monkeypatch.setattr(completion, "is_right", lambda image, claims: next(truth))
    found = evaluate(models, tiny_runs.shards, SMALL, ["completion"])
    assert found["dalle.completion.reconstructed_all_right"] == pytest.approx(2 / 3)
    assert found["dalle.completion.kept_tokens"] == 1


def test_lost_rows_are_noticed(models, tiny_runs, monkeypatch):
    def elsewhere(dalle, halves, keep_N, config):
        return ((half, torch.where(keep_N, half.tokens_N + 1, half.tokens_N)[None] % 16) for half in halves)

    monkeypatch.setattr(completion, "complete", elsewhere)
    assert evaluate(models, tiny_runs.shards, SMALL, ["completion"])["dalle.completion.kept_tokens"] == 0


def test_a_likelihood_that_knows_the_class_is_always_right(models, tiny_runs, monkeypatch):
    shards = Shards(tiny_runs.shards, "test")
    classes = [shards[i].meta["class"] for i in range(len(shards)) if "class" in shards[i].meta]

    def knowing(self, tokens_BN):
        return torch.nn.functional.one_hot(torch.tensor(classes[: len(tokens_BN)]), 48).float()

    monkeypatch.setattr(GenerativeClassifier, "log_likelihoods", knowing)
    found = evaluate(models, tiny_runs.shards, SMALL, ["generative-zero-shot"])
    assert found["dalle.generative_zero_shot.top1"] == found["dalle.generative_zero_shot.top5"] == 1
    assert found["dalle.generative_zero_shot.num_samples"] == len(classes) == 3
    assert {"dalle.generative_zero_shot.clip_top1", "dalle.generative_zero_shot.holdout_clip_top1"} <= found.keys()
    # the CLIP beside it answers the same questions as in its own task
    monkeypatch.undo()
    theirs = evaluate(models, tiny_runs.shards, SMALL, ["zero-shot"])
    assert found["dalle.generative_zero_shot.clip_top1"] == pytest.approx(theirs["clip.zero_shot.top1"])


def test_answers_are_those_of_teacher_forcing(models, tiny_runs):
    dalle, shards = models.dalle, Shards(tiny_runs.shards, "test")
    names, template = Manifest.load(tiny_runs.shards).class_names, Manifest.load(tiny_runs.shards).templates[0]
    records = [shards[i] for i in range(len(shards)) if "class" in shards[i].meta][:3]
    tokens = dalle.encode([record.image() for record in records])
    text = dalle.text_tokenizer([template.replace("{}", name) for name in names])
    right = 0
    for record, tokens_N in zip(records, tokens, strict=True):
        with torch.no_grad():
            log_p = dalle.model(text, tokens_N.expand(len(text), -1))[1].log_softmax(-1)
        right += (
            int(log_p.gather(2, tokens_N.expand(len(text), -1)[..., None]).sum((1, 2)).argmax()) == record.meta["class"]
        )
    found = evaluate(models, tiny_runs.shards, SMALL, ["generative-zero-shot"])
    assert found["dalle.generative_zero_shot.top1"] == pytest.approx(right / 3)


def test_very_many_classes_would_take_too_long(models, tiny_runs):
    manifest = Manifest.load(tiny_runs.shards)
    assert tasks()["generative-zero-shot"].applies_to(manifest, SMALL)
    many = manifest.model_copy(update={"class_names": [str(i) for i in range(101)]})
    assert not tasks()["generative-zero-shot"].applies_to(many, SMALL)


def test_a_wrong_picture_is_judged_wrong(tiny_runs):
    order = choose_orders(Shards(tiny_runs.shards, "train"), 3)[0]
    empty = to_tensor(Image.new("RGB", (64, 64), (230, 230, 230)))
    assert not is_right(empty, order.claims)


def test_reranking_can_only_choose_among_the_candidates(tiny_runs, models):
    shards = Shards(tiny_runs.shards, "train")
    order = choose_orders(shards, 3)[0]
    right = next(shards[i] for i in range(len(shards)) if order.caption in shards[i].captions)
    empty = to_tensor(Image.new("RGB", (64, 64), (230, 230, 230)))
    candidates = torch.stack([empty, to_tensor(right.image())])
    alone = judge(order, candidates, None)
    assert not alone.first_right and not alone.best_right
    ranked = judge(order, candidates, models.clip)
    assert ranked.scores is not None and ranked.scores[0] >= ranked.scores[1]
    assert not ranked.first_right and ranked.best_right == torch.equal(ranked.images[0], candidates[1])
    assert float(dict(summarise([ranked, alone]))["all_right"]) == ranked.best_right / 2


def test_kinds_and_categories_keep_their_own_figures(tiny_runs, models):
    orders = choose_orders(Shards(tiny_runs.shards, "train"), 30)
    picture = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    names = [name for name, _ in summarise([judge(order, picture, None) for order in orders])]
    assert len(names) == len(set(names))
    assert {"kind_one_object", "kind_two_object", "kind_counting", "counting"} <= set(names)


def test_the_tokenizer_of_a_dalle_is_evaluated_with_it(tiny_runs):
    alone = load_models([tiny_runs.dalle])
    found = evaluate(alone, tiny_runs.shards, SMALL, ["reconstruction"])
    assert found["tokenizer.num_samples"] == Manifest.load(tiny_runs.shards).num_samples("test")
