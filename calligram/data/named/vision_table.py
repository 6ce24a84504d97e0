"""The data sets of torchvision that have names for their classes: how their splits are asked for, and what one says."""

from dataclasses import dataclass, field
from typing import Any

from calligram.data.named.rows import PHOTO

BY_TRAIN: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
BY_NAME = {"train": {"split": "train"}, "test": {"split": "test"}}
ALL: dict[str, dict[str, Any]] = {"test": {}}  # one heap: all of it is the test
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class VisionSet:
    """What torchvision does not say in the same way of every data set.

    Templates are those that CLIP's authors used where they published some (arXiv 2103.00020).
    """

    splits: dict[str, dict[str, Any]] = field(default_factory=lambda: BY_NAME)  # ours → arguments
    templates: tuple[str, ...] = (PHOTO,)
    names: tuple[str, ...] = ()  # instead of the ones torchvision has
    licence: str = ""


NUMBER = ('a photo of the number: "{}".',)
AIRCRAFT = ("a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft.")
SATELLITE = ("a centered satellite photo of {}.", "a centered satellite photo of a {}.")
TEXTURE = ("a photo of a {} texture.", "a photo of a {} pattern.", "a photo of a {} thing.", "a photo of a {} object.")
EUROSAT = (
    "annual crop land",
    "forest",
    "brushland or shrubland",
    "highway or road",
    "industrial buildings or commercial buildings",
    "pasture land",
    "permanent crop land",
    "residential buildings or homes or apartments",
    "river",
    "lake or sea",
)

SETS: dict[str, VisionSet] = {
    "CIFAR10": VisionSet(BY_TRAIN),
    "CIFAR100": VisionSet(BY_TRAIN),
    "Caltech101": VisionSet(ALL),
    "DTD": VisionSet(BY_NAME, TEXTURE),
    "EuroSAT": VisionSet(ALL, SATELLITE, EUROSAT, "MIT"),
    "FGVCAircraft": VisionSet({"train": {"split": "trainval"}, "test": {"split": "test"}}, AIRCRAFT),
    "FashionMNIST": VisionSet(BY_TRAIN, licence="MIT"),
    "Flowers102": VisionSet(BY_NAME, ("a photo of a {}, a type of flower.",)),
    "Food101": VisionSet(BY_NAME, ("a photo of {}, a type of food.",)),
    "Imagenette": VisionSet({"train": {"split": "train"}, "test": {"split": "val"}}),
    "KMNIST": VisionSet(BY_TRAIN, ('a photo of the hiragana character "{}".',), licence="CC BY-SA 4.0"),
    "MNIST": VisionSet(BY_TRAIN, NUMBER, DIGITS),
    "OxfordIIITPet": VisionSet(
        {"train": {"split": "trainval"}, "test": {"split": "test"}},
        ("a photo of a {}, a type of pet.",),
        licence="CC BY-SA 4.0",
    ),
    "RenderedSST2": VisionSet(BY_NAME, ("a {} review of a movie.",)),
    "STL10": VisionSet(BY_NAME),
    "SUN397": VisionSet(ALL, ("a photo of a {}.", "a photo of the {}.")),
    "SVHN": VisionSet(BY_NAME, ('a photo of the number: "{}".',), DIGITS),
    "StanfordCars": VisionSet(BY_NAME),
    "USPS": VisionSet(BY_TRAIN, NUMBER, DIGITS),
}
