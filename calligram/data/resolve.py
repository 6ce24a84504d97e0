"""What a person calls a data set → where its manifest is: the one place that knows all kinds.

| Text | What it is |
|---|---|
| a folder or URL with ``manifest.json`` | ours |
| a folder or URL with ``test/nshards.txt`` | CLIP_benchmark's layout |
| a folder of pictures, or a table of them | ImageFolder, or captions |
| ``torchvision:NAME[:ROOT]`` | a data set of torchvision |
| ``hf:OWNER/NAME[:CONFIG][@REVISION]`` | a data set on the Hugging Face hub |

To a URL and a name of the hub ``#train+test`` may be added: the splits to fetch, else the one to test on.
"""

import difflib
import re
from pathlib import Path

from calligram.data import remote
from calligram.data.manifest import FILE_NAME, Manifest
from calligram.data.place import PIPE, join, place
from calligram.errors import UserError

TORCHVISION, HUB = "torchvision:", "hf:"
KINDS = f"the folder of a data set or its URL, a folder of pictures, {TORCHVISION}NAME or {HUB}OWNER/NAME"


def resolve(text: Path | str) -> Path | str:
    """The folder, or the URL, of a manifest. What is not ours is made ours in the cache first, once.

    Raises UserError, which names what was meant perhaps, where there is no such data set.
    """
    where = place(text)
    if isinstance(where, str):
        return _far(where)
    word = str(text)
    if word.startswith(TORCHVISION):
        from calligram.data.named import vision

        return vision.open_named(word.removeprefix(TORCHVISION))
    if word.startswith(HUB):
        from calligram.data.named import hub

        return hub.open_named(word.removeprefix(HUB))
    return _near(where)


def _near(folder: Path) -> Path:
    if (folder / FILE_NAME).is_file():
        return folder
    if not folder.exists():
        raise UserError(f"{folder} does not exist: {_meant(folder)}")
    from calligram.data.named import class_folders, clip_benchmark

    if folder.is_dir():
        if clip_benchmark.is_local(folder):
            return clip_benchmark.open_local(folder)
        if not any(folder.iterdir()) or next(folder.rglob("*.tar"), None) is not None:
            Manifest.load(folder)  # raises, and says what to do
    return class_folders.open_folder(folder)


def _far(url: str) -> Path | str:
    """Our own first, since most are; each kind is told by a small file that it has."""
    if url.startswith(PIPE):
        raise UserError(f"{url} is a command and no data set: give {KINDS}")
    if remote.read_if_there(str(join(url.partition("#")[0], FILE_NAME))) is not None:
        return url
    from calligram.data.named import clip_benchmark

    found = clip_benchmark.open_far(url)
    if found is None:
        raise UserError(
            f"{url} has neither {FILE_NAME} nor test/{clip_benchmark.NUMBER}: give the URL of a folder that has one"
        )
    return found


def _meant(folder: Path) -> str:
    """A name that is nearly the same, or all there is to choose from."""
    from calligram.data.named.vision_table import SETS

    beside = [path.name for path in folder.parent.iterdir() if path.is_dir()] if folder.parent.is_dir() else []
    near = difflib.get_close_matches(folder.name, beside, n=1)
    if near:
        return f"did you mean {folder.parent / near[0]}?"
    known = {name.lower(): name for name in SETS}
    plain = re.sub(r"[^a-z0-9]", "", str(folder).lower())
    named = difflib.get_close_matches(plain, known, n=1)
    if named:
        return f"did you mean {TORCHVISION}{known[named[0]]}?"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(folder)):
        return f"give an existing folder, or {HUB}{folder} for the Hugging Face hub"
    return f"give {KINDS}, or make one with `calligram data make`"
