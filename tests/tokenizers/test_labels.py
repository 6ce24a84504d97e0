import pytest

from calligram.errors import UserError
from calligram.tokenizers.labels import LabelTokenizer
from calligram.tokenizers.text import TextTokenizer
from calligram.tokenizers.text_config import TextTokenizerConfig

NAMES, TEMPLATES = ["T-shirt", "ankle boot", "bag"], ["a photo of the {}", "{}"]


def make() -> LabelTokenizer:
    return LabelTokenizer.of(NAMES, TEMPLATES, context_length=4)


def test_a_class_is_one_token_however_it_is_said():
    labels = make()
    rows = labels(["a photo of the ankle boot", "Ankle  boot", "bag", "t-shirt", ""])
    assert rows.tolist() == [[1, 4, 2, 0], [1, 4, 2, 0], [1, 5, 2, 0], [1, 3, 2, 0], [1, 2, 0, 0]]
    assert labels.vocab_size == 6 and labels.class_names == ["t-shirt", "ankle boot", "bag"]
    assert labels.decode([1, 4, 2, 0]) == "ankle boot"


def test_other_captions_are_refused():
    with pytest.raises(UserError, match="'a red bag' names no class of this model; it knows t-shirt, ankle boot, bag"):
        make()(["a red bag"])


def test_it_comes_back_as_it_was(tmp_path):
    make().save(tmp_path / "labels.json")
    loaded = TextTokenizer.load(tmp_path / "labels.json")
    assert isinstance(loaded, LabelTokenizer) and loaded.fingerprint == make().fingerprint
    assert loaded(["a photo of the bag"]).tolist() == [[1, 5, 2, 0]]


@pytest.mark.parametrize(
    ("names", "templates", "said"),
    [
        ([], TEMPLATES, "names no classes"),
        (["bag", "Bag"], TEMPLATES, "two classes are called 'bag'"),
    ],
)
def test_classes_that_are_none_are_refused(names, templates, said):
    with pytest.raises(UserError, match=said):
        TextTokenizerConfig(type="labels").build([], 4, names, templates)


def test_a_caption_of_two_classes_is_refused():
    labels = LabelTokenizer.of(["bag", "a bag"], ["a {}", "{}"], 4)
    with pytest.raises(UserError, match="the caption 'a bag' is that of two classes"):
        labels(["bag"])
