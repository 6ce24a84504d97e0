"""``--calibrate``: probabilities fitted to the labelled pictures of a data set."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calligram.cli.console import say
from calligram.errors import UserError
from calligram.progress import track

if TYPE_CHECKING:
    from torch import Tensor

    from calligram.clip.scoring import Scorer
    from calligram.clip.zero_shot import ClipPipeline

ENOUGH = 10_000  # pictures; one or two numbers are fitted to them
AT_ONCE = 64


def calibrated(clip: "ClipPipeline", scorer: "Scorer", labels: Sequence[str], data: Path | str, split: str) -> "Scorer":
    """The scorer fitted to pictures whose class is a label; what that did is said on stderr."""
    from calligram.clip.scoring import calibrate

    image_BE, class_B = labelled_vectors(clip, labels, data, split)
    found = calibrate(scorer, image_BE, class_B)
    say(
        f"calibrated on {found.num_pictures:,} pictures: temperature {found.temperature:.4g}, "
        f"expected calibration error {found.ece_before:.4f} before, {found.ece_after:.4f} after"
    )
    return found.scorer


def labelled_vectors(
    clip: "ClipPipeline", labels: Sequence[str], data: Path | str, split: str
) -> "tuple[Tensor, Tensor]":
    """Vectors (B, E) and numbers of labels (B,) of the pictures whose class is one of the labels."""
    import torch

    from calligram.cli.decoding import chunks, decode_ahead, decoder_for
    from calligram.cli.pictures import Item
    from calligram.cli.pictures import samples as all_samples
    from calligram.data.dataset import Shards

    shards = Shards(data, split)
    number_of = {label: number for number, label in enumerate(labels)}
    numbers = [number_of.get(name) for name in shards.manifest.class_names]
    if all(number is None for number in numbers):
        some = ", ".join(shards.manifest.class_names[:5]) or "it has none"
        raise UserError(f"--calibrate {data}: none of its class names is a label ({some}): spell them alike")

    def labelled() -> Iterator[Item]:
        for item in all_samples(shards):
            known = item.facts.get("class")
            if isinstance(known, int) and 0 <= known < len(numbers) and numbers[known] is not None:
                yield item

    vectors, classes = [], []
    decoded = (each for each in decode_ahead(labelled(), decoder_for(clip), 2 * AT_ONCE) if each.pixels is not None)
    for chunk in chunks(track(decoded, "calibrate", total=min(len(shards), ENOUGH)), AT_ONCE):
        vectors.append(clip.embed_prepared([each.pixels for each in chunk if each.pixels is not None]))
        classes += [numbers[each.item.facts["class"]] for each in chunk]
        if len(classes) >= ENOUGH:
            break
    if not classes:
        raise UserError(f"--calibrate {data}: no picture of the split {split!r} has a class among the labels")
    return torch.cat(vectors), torch.tensor(classes)
