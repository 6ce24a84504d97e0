"""A picture of what is taken for what.

# B pictures, C classes
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

SHOWN = 48  # classes at most, whose names can still be read
INCHES_A_CLASS, MARGIN_INCHES = 0.22, 2.4


def confusion_picture(guess_B: Tensor, class_B: Tensor, names: Sequence[str]) -> Image.Image:
    """Rows are classes, columns what the model took them for; shares of each row.

    Of more classes than can be read those are shown that are confused with others most often.
    """
    count_CC = np.zeros((len(names), len(names)))
    np.add.at(count_CC, (class_B.numpy(), guess_B.numpy()), 1)
    chosen = most_confused(count_CC, SHOWN)
    share_CC = count_CC / count_CC.sum(1, keepdims=True).clip(1)
    title = "" if len(chosen) == len(names) else f"the {len(chosen)} of {len(names):,} classes that are confused most"
    return _draw(share_CC[np.ix_(chosen, chosen)], [names[number] for number in chosen], title)


def most_confused(count_CC: NDArray, number: int) -> list[int]:
    """Classes in their order; all where there are no more than ``number``."""
    wrong_CC = count_CC - np.diag(np.diag(count_CC))
    mistakes = wrong_CC.sum(0) + wrong_CC.sum(1)
    return sorted(np.argsort(-mistakes, kind="stable")[:number].tolist())


def _draw(share_CC: NDArray, names: Sequence[str], title: str) -> Image.Image:
    from matplotlib.figure import Figure

    side = len(names) * INCHES_A_CLASS + MARGIN_INCHES
    figure = Figure(figsize=(side, side), layout="constrained", dpi=80)
    axes = figure.add_subplot()
    shown = axes.imshow(share_CC, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_xlabel("taken for")
    axes.set_ylabel("class")
    axes.set_title(title, fontsize=9)
    figure.colorbar(shown, shrink=0.5, label="share of the class's pictures")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    with Image.open(file) as image:
        return image.convert("RGB")
