"""Hashes say what was measured, wherever it lies."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from calligram import runs
from calligram.clip.fingerprint import model_fingerprint
from calligram.clip.load import load_model
from calligram.data.manifest import Manifest
from calligram.errors import UserError
from calligram.eval import identity
from calligram.eval.identity import cell_key, data_digest, identify, read_data
from calligram.eval.loading import Loader
from calligram.eval.runner import tasks
from calligram.eval.task import EvalConfig, EvalTask

CONFIG = EvalConfig()


@pytest.mark.parametrize("kind", ["clip", "tokenizer", "dalle"])
def test_a_model_is_known_by_what_it_holds(kind, tiny_runs, tmp_path):
    run, copy = getattr(tiny_runs, kind), tmp_path / "elsewhere"
    shutil.copytree(run, copy)
    before = identify(kind, str(run), Loader())
    assert identify(kind, str(copy), Loader()).digest == before.digest
    assert before.parameters == runs.count_parameters(runs.weights(run))

    config = json.loads((copy / runs.CONFIG).read_text())
    config["train"]["steps"] += 1  # what it was trained by changes no answer
    (copy / runs.CONFIG).write_text(json.dumps(config))
    assert identify(kind, str(copy), Loader()).digest == before.digest

    state = load_file(runs.weights(copy))
    next(iter(state.values())).view(-1)[0] += 1e-3
    save_file(state, runs.weights(copy))
    assert identify(kind, str(copy), Loader()).digest != before.digest


def test_how_a_dalle_samples_and_with_which_tokenizer_belongs_to_it(tiny_runs, tmp_path):
    before = identify("dalle", str(tiny_runs.dalle), Loader()).digest
    for number, change in enumerate(("sampling", "image")):
        copy = tmp_path / str(number)
        shutil.copytree(tiny_runs.dalle, copy)
        if change == "sampling":
            config = json.loads((copy / runs.CONFIG).read_text())
            (copy / runs.CONFIG).write_text(json.dumps({**config, "sampling": {"temperature": 0.5}}))
        else:
            path = runs.weights(copy / runs.IMAGE_TOKENIZER)
            save_file({name: x * 2 for name, x in load_file(path).items()}, path)
        assert identify("dalle", str(copy), Loader()).digest != before, change


def test_a_model_of_others_is_known_by_its_loaded_weights(tiny_runs, monkeypatch):
    monkeypatch.setattr(identity, "is_foreign", lambda where: True)
    loader = Loader()
    part = identify("clip", str(tiny_runs.clip), loader)
    model, tokenizer = load_model(tiny_runs.clip)
    assert part.digest == model_fingerprint(model, tokenizer)
    assert part.parameters == sum(x.numel() for x in model.parameters())
    assert loader.clip(str(tiny_runs.clip)) is loader.clip(str(tiny_runs.clip))  # and stays for what is measured on it


def test_a_space_is_known_by_its_clip_its_file_or_its_name(tiny_runs, tmp_path):
    def digest(where) -> str:
        return identify("space", str(where), Loader()).digest

    assert digest(tiny_runs.clip) == identify("clip", str(tiny_runs.clip), Loader()).digest
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / f"inception_{name}.pth").write_bytes(content)
    one, same, other = (tmp_path / f"inception_{name}.pth" for name in "abc")
    assert digest(one) == digest(f"inception:{one}") == digest(same) != digest(other)
    assert digest("pixels") != digest("edges")


def test_data_is_known_by_samples_and_words(tiny_runs, tmp_path):
    manifest = Manifest.load(tiny_runs.shards)
    shutil.copytree(tiny_runs.shards, tmp_path / "shards")
    (here,) = read_data({"x": tiny_runs.shards}, CONFIG)
    (there,) = read_data({"x": tmp_path / "shards"}, CONFIG)
    assert here.digest == there.digest == data_digest(manifest)
    assert data_digest(manifest.model_copy(update={"templates": ["the {}"]})) != here.digest
    assert data_digest(manifest.model_copy(update={"splits": {"test": manifest.splits["test"][:0]}})) != here.digest
    facts = here.facts()
    assert facts["splits"]["test"] == 9 and facts["licence"] == manifest.licence
    with pytest.raises(UserError, match="no split 'validation', only train, test"):
        read_data({"x": tiny_runs.shards}, EvalConfig(split="validation"))


def test_a_cell_is_known_by_task_models_data_and_config(tiny_runs):
    (data,) = read_data({"x": tiny_runs.shards}, CONFIG)
    part = identify("clip", str(tiny_runs.clip), Loader())
    task = tasks()["zero-shot"]
    key = cell_key(task, {"clip": part}, data, CONFIG)
    assert key == cell_key(task, {"clip": part}, data, EvalConfig())
    other = EvalConfig(num_captions=7)
    keys = {key, cell_key(tasks()["retrieval"], {"clip": part}, data, CONFIG), cell_key(task, {}, data, CONFIG)}
    assert len(keys | {cell_key(task, {"clip": part}, data, other)}) == 4

    class Narrow(EvalTask):
        name, needs, reads = "narrow", ("clip",), ("split", "max_samples")

    narrow = Narrow()
    assert cell_key(narrow, {}, data, CONFIG) == cell_key(narrow, {}, data, other)
    assert cell_key(narrow, {}, data, CONFIG) != cell_key(narrow, {}, data, EvalConfig(max_samples=3))
    # and it cannot see what its key does not name
    assert narrow.narrowed(EvalConfig(num_captions=7, max_samples=3)) == EvalConfig(max_samples=3)
    Narrow.version = 2
    assert cell_key(Narrow(), {}, data, CONFIG) != cell_key(tasks()["retrieval"], {}, data, CONFIG)
