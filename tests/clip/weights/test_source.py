"""Models of others by the words that people have for them; what goes out is what others read back."""

import json
from pathlib import Path

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPProcessor

from calligram import load_clip
from calligram.cli.main import main
from calligram.clip.load import save_model
from calligram.clip.weights.export import export_hf, export_open_clip
from calligram.clip.zero_shot import ClipPipeline
from calligram.errors import UserError
from calligram.tokenizers.text import TextTokenizer
from tests.clip.weights.peers import CLOSE, differences, list_tensors, open_clip_model, perturbed

VOCAB = 49408
TEXTS = ["a photo of a cat", "two dogs & a <b>bird</b>, it's raining!", "Ünïcödé  façade 12345"]
CONFIG = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2},
    "text_cfg": {"context_length": 20, "vocab_size": VOCAB, "width": 64, "heads": 1, "layers": 1},
}
NAME = "calligram-tiny"


@pytest.fixture(scope="module")
def theirs() -> nn.Module:
    return open_clip_model(CONFIG)


@pytest.fixture
def registered(tmp_path) -> None:
    """open_clip knows the small model by a name, and a QuickGELU twin of it."""
    for name, quick in ((NAME, False), (f"{NAME}-quickgelu", True)):
        (tmp_path / f"{name}.json").write_text(json.dumps({**CONFIG, "quick_gelu": quick}))
        open_clip.add_model_config(tmp_path / f"{name}.json")


def same(clip: ClipPipeline, theirs: nn.Module) -> bool:
    text = clip.tokenizer(TEXTS)
    return max(differences(clip.model, theirs, text)) < CLOSE


def archive(model: nn.Module, path: Path) -> Path:
    """As OpenAI's: TorchScript, with numbers among the buffers."""
    example = (torch.rand(1, 3, 32, 32), torch.ones(1, 20, dtype=torch.long))
    torch.jit.save(torch.jit.trace(model, example, check_trace=False), path)
    return path


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_an_archive_says_all_by_itself(theirs, tmp_path, registered):
    path = archive(theirs, tmp_path / "model.pt")
    assert same(load_clip(path), theirs)
    assert same(load_clip(f"{NAME}:{path}"), theirs), "its name has the other activation, but archives have OpenAI's"
    with pytest.raises(UserError, match="says itself which activation"):
        load_clip(path, activation="gelu")


def test_weights_that_do_not_say_their_activation_ask_for_it(theirs, tmp_path, registered):
    path = tmp_path / "weights.pt"
    torch.save(list_tensors(theirs), path)
    with pytest.raises(UserError, match="does not say which activation"):
        load_clip(path)
    with pytest.raises(UserError, match=f"whether it is a {NAME} or a {NAME}-quickgelu"):
        load_clip(f"{NAME}:{path}")
    for source, activation in (
        (path, "quick_gelu"),
        (f"{NAME}:{path}", "quick_gelu"),
        (f"{NAME}-quickgelu:{path}", None),
    ):
        assert same(load_clip(source, activation=activation), theirs)
    assert not same(load_clip(path, activation="gelu"), theirs)
    with pytest.raises(UserError, match="open_clip has no model 'nonsense'"):
        load_clip(f"nonsense:{path}")


@pytest.mark.parametrize(("quick", "right"), [(True, True), (False, False)])
def test_a_tag_of_the_registry_knows_better_than_the_name(theirs, tmp_path, registered, monkeypatch, quick, right):
    path = tmp_path / "weights.safetensors"
    save_file(list_tensors(theirs), path)
    tag = {"quick_gelu": quick, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "resize_mode": "squash"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, found: tag if found == "mine" else {})
    monkeypatch.setattr(open_clip, "download_pretrained", lambda found: str(path))
    clip = load_clip(f"open_clip:{NAME}/mine")
    assert same(clip, theirs) is right
    assert clip.model.config.mean == (0.5, 0.4, 0.3)
    assert clip.model.config.preprocess.resize == "squash"
    with pytest.raises(UserError, match="open_clip has no weights 'other'"):
        load_clip(f"open_clip:{NAME}/other")


def test_what_cannot_be_fetched_is_told_in_a_line():
    with pytest.raises(UserError, match="could not fetch nobody/nothing from the hub"):
        load_clip("hf:nobody/nothing")
    with pytest.raises(UserError, match="run folder nowhere does not exist"):
        load_clip("nowhere")


@pytest.fixture
def clip(theirs, tmp_path) -> ClipPipeline:
    torch.save(list_tensors(theirs), tmp_path / "weights.pt")
    return load_clip(tmp_path / "weights.pt", activation="quick_gelu")


def test_a_converted_model_is_a_run_to_every_verb(theirs, tmp_path, clip, capsys):
    save_file(list_tensors(theirs), tmp_path / "weights.safetensors")
    run = tmp_path / "run"
    words = ["convert", str(tmp_path / "weights.safetensors"), "--out", str(run), "--activation", "quick_gelu"]
    assert main(words) == 0
    assert same(load_clip(run), theirs)
    assert load_clip(run).tokenizer(TEXTS).equal(clip.tokenizer(TEXTS))
    assert main(["show", str(run)]) == 0
    Image.new("RGB", (50, 40), "red").save(tmp_path / "red.png")
    assert main(["classify", str(tmp_path / "red.png"), "--labels", "red,blue", "--model", str(run), "--json"]) == 0
    assert main(["export", str(run), "--format", "hf", "--out", str(tmp_path / "hf")]) == 0
    assert (
        max(differences(clip.model, CLIPModel.from_pretrained(tmp_path / "hf").eval(), clip.tokenizer(TEXTS))) < CLOSE
    )
    capsys.readouterr()
    assert main(words) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none"), "--out", str(tmp_path / "x")]) == 2
    assert "there is no model" in capsys.readouterr().err


def test_another_size_of_pictures_is_asked_for(theirs, tmp_path, clip):
    large = load_clip(tmp_path / "weights.pt", activation="quick_gelu", image_size=48)
    before, after = clip.model.visual.positions, large.model.visual.positions
    assert after.shape == (37, 64)
    assert torch.equal(after[0], before[0])
    state = {"visual.positional_embedding": before.detach().clone()}
    visual = open_clip_model({**CONFIG, "vision_cfg": {**CONFIG["vision_cfg"], "image_size": 48}})
    open_clip.factory.resize_pos_embed(state, visual)
    torch.testing.assert_close(after, state["visual.positional_embedding"])
    assert large.embed_images([Image.new("RGB", (90, 60), "red")]).shape == (1, 64)
    with pytest.raises(UserError, match="image_size 50 is not divisible by patch 8"):
        load_clip(tmp_path / "weights.pt", activation="quick_gelu", image_size=50)


def test_open_clip_reads_what_we_write(theirs, tmp_path, clip):
    out = tmp_path / "exported"
    export_open_clip(clip.model, clip.tokenizer, out)
    back, _, transform = open_clip.create_model_and_transforms(f"local-dir:{out}")
    assert same(clip, back.eval())
    assert transform.transforms[0].size == 32
    ids = open_clip.get_tokenizer(f"local-dir:{out}", context_length=20)(TEXTS)
    assert torch.equal(ids, clip.tokenizer(TEXTS))
    open_clip.add_model_config(out / "exported.json")
    by_name = open_clip.create_model("exported", pretrained=str(out / "open_clip_model.safetensors"))
    assert same(clip, by_name.eval())
    assert same(load_clip(out), theirs), "and so do we"


def test_hugging_face_reads_what_we_write(theirs, tmp_path, clip):
    export_hf(clip.model, clip.tokenizer, tmp_path / "hf")
    back = CLIPModel.from_pretrained(tmp_path / "hf")
    assert max(differences(clip.model, back.eval(), clip.tokenizer(TEXTS))) < CLOSE
    processor = CLIPProcessor.from_pretrained(tmp_path / "hf")
    found = processor(text=TEXTS[:2], images=Image.new("RGB", (50, 40), "red"), return_tensors="pt", padding=True)
    # an HTML entity or tag of the second text is none in theirs
    assert found["input_ids"][0].tolist()[:7] == clip.tokenizer(TEXTS)[0].tolist()[:7]
    assert found["pixel_values"].shape == (1, 3, 32, 32)
    assert same(load_clip(tmp_path / "hf"), theirs), "and so do we"


def test_a_vocabulary_of_our_own_goes_along(tmp_path, theirs):
    texts = ["a red circle above a blue square", "A  green ring", "don't"]
    tokenizer = TextTokenizer.train(texts, vocab_size=300, context_length=20)
    config = {**CONFIG, "text_cfg": {**CONFIG["text_cfg"], "vocab_size": tokenizer.vocab_size, "eos_id": 2}}
    torch.save(list_tensors(open_clip_model(config)), tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        load_clip(tmp_path / "weights.pt", activation="gelu")
    (tmp_path / "run").mkdir()
    from calligram.clip.weights.layout import to_ours
    from calligram.clip.weights.open_clip import config_from_open_clip
    from calligram.clip.weights.open_clip_names import open_clip_rules
    from tests.clip.weights.peers import our_model

    ours = config_from_open_clip(config, {})
    state = to_ours(torch.load(tmp_path / "weights.pt"), open_clip_rules(ours))
    clip = ClipPipeline(our_model(ours, state, tokenizer.vocab_size, tokenizer.end_id), tokenizer)
    out = tmp_path / "exported"
    export_open_clip(clip.model, tokenizer, out)
    back = open_clip.create_model(f"local-dir:{out}").eval()
    ids = open_clip.get_tokenizer(f"local-dir:{out}", context_length=20)(texts)
    assert torch.equal(ids, tokenizer(texts))
    assert max(differences(clip.model, back, ids)) < CLOSE
    again = load_clip(out)
    assert torch.equal(again.tokenizer(texts), tokenizer(texts))
    torch.testing.assert_close(
        again.embed_texts(texts, strict=False), clip.embed_texts(texts, strict=False), atol=1e-6, rtol=1e-5
    )


def test_a_folder_of_hugging_face(tmp_path):
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    image = {**text, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    model = perturbed(CLIPModel(CLIPConfig(text_config=text, vision_config=image, projection_dim=16)))
    model.save_pretrained(tmp_path / "hf")
    clip = load_clip(tmp_path / "hf")
    assert max(differences(clip.model, model, clip.tokenizer(TEXTS))) < CLOSE
    save_model(clip.model, clip.tokenizer, tmp_path / "run")
    assert max(differences(load_clip(tmp_path / "run").model, model, clip.tokenizer(TEXTS))) < CLOSE


def test_ids_are_those_of_the_exported_tokenizer(tmp_path, clip):
    """Texts without anything that only Python mends."""
    export_hf(clip.model, clip.tokenizer, tmp_path / "hf")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "hf")
    texts = ["a photo of a cat", "It's 2 o'clock; DON'T!", "snow-covered mountains, 4K", "façade naïve", "犬と猫"]
    for text, row in zip(texts, clip.tokenizer(texts).tolist(), strict=True):
        ids = theirs(text)["input_ids"]
        assert row[: len(ids)] == ids, text


def test_a_folder_that_is_not_whole_is_refused(tmp_path, clip):
    export_hf(clip.model, clip.tokenizer, tmp_path / "hf")
    (tmp_path / "hf" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no weights: none of model\.safetensors"):
        load_clip(tmp_path / "hf")
    export_open_clip(clip.model, clip.tokenizer, tmp_path / "oc")
    config = json.loads((tmp_path / "oc" / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["vocab_size"] = 32_000  # SigLIP's
    (tmp_path / "oc" / "open_clip_config.json").write_text(json.dumps(config))
    (tmp_path / "oc" / "spiece.model").write_bytes(b"")
    with pytest.raises(UserError, match=r"its tokenizer as spiece\.model only, .* make a tokenizer\.json of it"):
        load_clip(tmp_path / "oc")
    (tmp_path / "oc" / "open_clip_config.json").write_text("{}")
    with pytest.raises(UserError, match="has no model_cfg"):
        load_clip(tmp_path / "oc")
