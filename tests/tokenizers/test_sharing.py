import pytest

from calligram.tokenizers.sharing import refit, share_words
from calligram.tokenizers.text import TextTokenizer

CAPTIONS = ["a red circle", "a blue square above a green star", "", "circle", "a red ring below a blue ring, small"]


def tokenizer(kind: str, length: int) -> TextTokenizer:
    return TextTokenizer.clip(length) if kind == "clip" else TextTokenizer.train(CAPTIONS, 300, length)


@pytest.mark.parametrize("kind", ["clip", "bpe"])
@pytest.mark.parametrize("lengths", [(40, 5), (40, 3), (40, 39), (12, 12)])
def test_a_shorter_reader_finds_the_ids_of_its_own_tokenizer(kind, lengths):
    ours, theirs = (tokenizer(kind, length) for length in lengths)
    assert share_words(ours, theirs)
    assert (ours.fingerprint == theirs.fingerprint) == (lengths[0] == lengths[1])
    assert refit(ours(CAPTIONS), theirs).tolist() == theirs(CAPTIONS).tolist()


@pytest.mark.parametrize("kind", ["clip", "bpe"])
def test_a_longer_reader_finds_padding_behind_what_was_read(kind):
    """Where nothing was cut these are its own ids; what was cut stays so."""
    whole, short, long = (tokenizer(kind, length) for length in (64, 6, 77))
    assert refit(whole(CAPTIONS), long).tolist() == long(CAPTIONS).tolist()
    found = refit(short(CAPTIONS), long)
    assert found.shape == (5, 77) and refit(found, short).tolist() == short(CAPTIONS).tolist()
    assert (found == long.end_id).sum(1).tolist() == [1] * 5


def test_other_words_are_not_shared():
    small = TextTokenizer.train(CAPTIONS, 300)
    assert not share_words(small, TextTokenizer.clip())
    assert not share_words(small, TextTokenizer.train(["something else entirely", *CAPTIONS], 300))
