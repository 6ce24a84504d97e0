"""Which models are evaluated together, under which names."""

import shutil

import pytest

from calligram.errors import UserError
from calligram.eval.runner import tasks
from calligram.eval.systems import is_flat, read_systems, unique


def test_each_model_is_a_row_and_the_only_clip_picks(tiny_runs):
    words = [str(tiny_runs.clip), str(tiny_runs.tokenizer), str(tiny_runs.dalle)]
    systems, notes = read_systems(words)
    clip, tokenizer, dalle = systems
    assert [system.name for system in systems] == ["clip", "tokenizer", "dalle"]
    assert clip.own == {"clip": words[0]} and not clip.helpers
    assert tokenizer.own == {"tokenizer": words[1]} and tokenizer.helpers == {"space": words[0]}
    # its own tokenizer is not measured beside the one that was named
    assert dalle.own == {"dalle": words[2]}
    assert dalle.helpers == {"clip": words[0], "space": words[0], "tokenizer": f"{words[2]}/image_tokenizer"}
    assert notes == [f"{words[0]} picks among the drawings of {words[2]}, and scores them"]
    assert is_flat(systems)


def test_a_joined_word_is_one_system(tiny_runs):
    (system,), notes = read_systems([f"{tiny_runs.dalle}+{tiny_runs.clip}"])
    assert system.name == "dalle+clip" and not notes
    assert system.own.keys() == {"dalle", "clip", "tokenizer"}
    assert all(system.why_not(tasks()[name]) is None for name in ("zero-shot", "composition", "reconstruction"))


def test_one_that_only_helps_has_no_figures_of_its_own(tiny_runs):
    (system,), _ = read_systems([str(tiny_runs.dalle)], rerank=str(tiny_runs.clip))
    assert system.why_not(tasks()["zero-shot"]) == "it needs a CLIP"
    assert system.why_not(tasks()["reconstruction"]) is None
    assert system.taken_by(tasks()["composition"]) == {"dalle": str(tiny_runs.dalle), "clip": str(tiny_runs.clip)}
    assert system.taken_by(tasks()["reconstruction"]).keys() == {"tokenizer"}
    clip = read_systems([str(tiny_runs.clip)])[0][0]
    assert clip.why_not(tasks()["composition"]) == "it needs a DALL-E"


def test_of_several_clips_none_picks_unless_it_is_named(tiny_runs, tmp_path):
    other = tmp_path / "clip"
    shutil.copytree(tiny_runs.clip, other)
    words = [str(tiny_runs.clip), str(other), str(tiny_runs.dalle)]
    systems, notes = read_systems(words)
    assert [system.name for system in systems] == ["clip", "clip-2", "dalle"]
    assert "clip" not in systems[2].helpers and "--rerank" in notes[0]
    assert not is_flat(systems)
    systems, notes = read_systems(words, rerank=str(other), space="inception")
    assert systems[2].helpers["clip"] == str(other) and not notes
    assert {system.helpers["space"] for system in systems} == {"inception"}


def test_a_folder_whose_name_has_a_plus_is_one_run(tiny_runs, tmp_path):
    shutil.copytree(tiny_runs.clip, tmp_path / "a+b")
    (system,), _ = read_systems([str(tmp_path / "a+b")])
    assert system.name == "a+b" and system.own == {"clip": str(tmp_path / "a+b")}


@pytest.mark.parametrize(
    ("word", "rerank", "message"),
    [
        ("nowhere", None, "nowhere does not exist"),
        ("{clip}+", None, "several joined with"),
        ("{clip}+{clip}", None, "is a second clip run"),
        ("{dalle}", "{tokenizer}", "is a tokenizer run, but a clip run is needed"),
    ],
)
def test_what_does_not_fit_is_told(word, rerank, message, tiny_runs):
    places = {name: str(getattr(tiny_runs, name)) for name in ("clip", "dalle", "tokenizer")}
    with pytest.raises(UserError, match=message):
        read_systems([word.format(**places)], rerank and rerank.format(**places))


def test_names_are_unique():
    assert unique(["a", "b", "a", "a-2", "a"]) == ["a", "b", "a-2", "a-2-2", "a-3"]
