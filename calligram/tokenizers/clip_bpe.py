"""CLIP's own byte-pair encoding (arXiv:2103.00020, section 2.4) on the fast tokenizers library.

The vocabulary is the file that open_clip ships. Its order is the ids: 256 bytes, the same 256 as the
end of a word, one entry a merge, the two specials.
"""

import gzip
import importlib.util
from itertools import accumulate
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from calligram.errors import UserError

CLIP_VOCAB_SIZE = 49408
START_TOKEN, END_TOKEN = "<start_of_text>", "<end_of_text>"
NUM_MERGES = CLIP_VOCAB_SIZE - 2 * 256 - 2
END_OF_WORD = "</w>"

# Which stretches of a cleaned caption are words. The peer matches without regard to case, which after
# lower-casing still matters in two places: the long s counts as an s, and U+0345, whose capital is a
# letter, counts neither as a letter nor as anything else and is lost. Letters and digits younger than
# Unicode 16 are unknown to the Rust regex: beside another letter they start a word of their own.
WORD_PATTERN = "|".join(
    (
        r"<[sſ]tart_of_text>|<end_of_text>",
        r"'[sſ]|'t|'re|'ve|'m|'ll|'d",
        r"\p{L}+|\p{N}|[^\s\p{L}\p{N}\x{345}]+",
    )
)


def build_clip_bpe() -> Tokenizer:
    """CLIP's encoder of cleaned text: ids of words, without start, end and padding."""
    tokens, merges = clip_vocabulary()
    vocab = {token: index for index, token in enumerate(tokens)}
    vocab |= {START_TOKEN + END_OF_WORD: len(vocab), END_TOKEN + END_OF_WORD: len(vocab) + 1}
    for pieces in (["<", "start", "_", "of", "_", "text", ">"], ["<", "end", "_", "of", "_", "text", ">"]):
        _add_special_word(pieces, vocab, merges)
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=merges, end_of_word_suffix=END_OF_WORD))
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.Sequence([decoders.Replace(END_OF_WORD, "Ġ"), decoders.ByteLevel()])  # Ġ is the space's byte
    return bpe


def clip_vocabulary() -> tuple[list[str], list[tuple[str, str]]]:
    """Tokens by their ids, without the two specials at the end, and the merges that make them."""
    merges = _read_merges(_vocabulary_path())
    alphabet = _byte_alphabet()
    tokens = [*alphabet, *(letter + END_OF_WORD for letter in alphabet), *(first + second for first, second in merges)]
    return tokens, merges


def _add_special_word(pieces: list[str], vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """Lets a special that is written out in a caption become its id, as it does in open_clip.

    ``pieces`` are what the ordinary merges leave of the word; further merges, after all others, join them
    from the left. What is half joined gets an id beyond the vocabulary and never comes out: the word pattern
    lets "<" and letters into one word only where the whole special stands.
    """
    pieces = [*pieces[:-1], pieces[-1] + END_OF_WORD]
    for joined, following in zip(accumulate(pieces), pieces[1:], strict=False):
        merges.append((joined, following))
        vocab.setdefault(joined + following, len(vocab))


def _byte_alphabet() -> list[str]:
    """A printable letter for each of the 256 bytes: those that print stand for themselves and come first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(256 - len(printable))]


def _read_merges(path: Path) -> list[tuple[str, str]]:
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : 1 + NUM_MERGES]  # a header comes first
    pairs = [line.split() for line in lines]
    return [(first, second) for first, second in pairs]


def _vocabulary_path() -> Path:
    """The file inside the installed open_clip, found without importing it, which takes seconds."""
    spec = importlib.util.find_spec("open_clip")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "bpe_simple_vocab_16e6.txt.gz"
        if path.is_file():
            return path
    raise UserError("CLIP's vocabulary ships with open_clip, which is not installed: pip install open_clip_torch")
