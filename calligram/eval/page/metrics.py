"""What a metric is called on paper, its unit, and whether more of it is better: one table, by the metric's suffix."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

Direction = Literal["higher", "lower"]
SHARE = "share"  # the unit of what lies between 0 and 1
ARROWS = {"higher": " ↑", "lower": " ↓", None: ""}
HELD_OUT = "holdout_"

HIGHER, LOWER, NEITHER = "higher", "lower", None

# suffix, title, unit, direction. A star stands for a rest that takes the place of {}; the first that fits counts.
METRICS: tuple[tuple[str, str, str, Direction | None], ...] = (
    ("num_*", "number of {}", "", NEITHER),
    ("tokens_per_picture", "tokens per picture", "", NEITHER),
    ("kept_tokens", "tokens kept", "", NEITHER),
    # readers
    ("top1", "top-1 accuracy", SHARE, HIGHER),
    ("top5", "top-5 accuracy", SHARE, HIGHER),
    ("mean_per_class", "mean accuracy per class", SHARE, HIGHER),
    ("mean_per_class_recall", "mean recall per class", SHARE, HIGHER),
    ("balanced_accuracy", "balanced accuracy", SHARE, HIGHER),
    ("accuracy", "accuracy", SHARE, HIGHER),
    ("text_score", "text score", SHARE, HIGHER),
    ("image_score", "image score", SHARE, HIGHER),
    ("group_score", "group score", SHARE, HIGHER),
    ("map", "mean average precision", SHARE, HIGHER),
    ("mean_average_precision", "mean average precision", SHARE, HIGHER),
    ("recall_at_*", "recall@{}", SHARE, HIGHER),
    ("median_rank", "median rank", "", LOWER),
    ("mean_rank", "mean rank", "", LOWER),
    ("ece", "expected calibration error", SHARE, LOWER),
    ("calibration_error", "calibration error", SHARE, LOWER),
    # tokenizers
    ("psnr_db", "PSNR", "dB", HIGHER),
    ("ssim", "SSIM", SHARE, HIGHER),
    ("lpips", "LPIPS", "", LOWER),
    ("lpips_*", "LPIPS ({})", "", LOWER),
    ("usage", "vocabulary used", SHARE, HIGHER),
    ("perplexity", "perplexity of the codes", "codes", NEITHER),
    ("bits_per_token", "bits per token", "bits", LOWER),
    ("bits_per_picture", "bits per picture", "bits", LOWER),
    ("bits_per_dim", "bits per dimension", "bits", LOWER),
    # writers
    ("rfid", "rFID", "", LOWER),
    ("rfid_*", "rFID ({})", "", LOWER),
    ("fid", "FID", "", LOWER),
    ("fid_*", "FID ({})", "", LOWER),
    ("kid", "KID", "", LOWER),
    ("kid_*", "KID ({})", "", LOWER),
    ("cmmd", "CMMD", "", LOWER),
    ("cmmd_*", "CMMD ({})", "", LOWER),
    ("r_precision", "R-precision", SHARE, HIGHER),
    ("precision", "precision", SHARE, HIGHER),
    ("precision_*", "precision ({})", SHARE, HIGHER),
    ("recall", "recall", SHARE, HIGHER),
    ("recall_*", "recall ({})", SHARE, HIGHER),
    ("clip_score", "CLIP score", "", HIGHER),
    ("clip_score_*", "CLIP score ({})", "", HIGHER),
    ("diversity", "diversity", "", HIGHER),
    ("first_all_right", "first drawing all right", SHARE, HIGHER),
    ("all_right", "all right", SHARE, HIGHER),
    ("kind_*", "{} captions", SHARE, HIGHER),
    ("attribute_binding", "attribute binding", SHARE, HIGHER),
    ("colors", "colours", SHARE, HIGHER),
    ("counting", "counting", SHARE, HIGHER),
    ("position", "position", SHARE, HIGHER),
    ("single_object", "single object", SHARE, HIGHER),
    ("two_object", "two objects", SHARE, HIGHER),
)


@dataclass(frozen=True)
class Metric:
    """``name`` is the dotted one; one that the table does not know has neither unit nor direction."""

    name: str
    title: str
    unit: str = ""
    better: Direction | None = None

    @property
    def label(self) -> str:
        """``PSNR (dB) ↑``"""
        unit = f" ({self.unit})" if self.unit not in ("", SHARE) and self.unit not in self.title.lower() else ""
        return self.title + unit + ARROWS[self.better]


@cache
def describe(name: str) -> Metric:
    """``clip.retrieval.text_recall_at_5`` → "Text recall@5", a share of which more is better."""
    pieces = name.split(".")
    *path, last = pieces[2:] or pieces[-1:]
    held_out = last.startswith(HELD_OUT) and last != HELD_OUT
    title, unit, better = _look_up(last.removeprefix(HELD_OUT) if held_out else last)
    title = ": ".join([*map(_words, path), title]) + (", held out" if held_out else "")
    starts_as_word = title[1:2] == title[1:2].lower()  # unlike rFID
    return Metric(name, title[:1].upper() + title[1:] if starts_as_word else title, unit, better)


def _look_up(last: str) -> tuple[str, str, Direction | None]:
    for suffix, title, unit, better in METRICS:
        found = _pattern(suffix).fullmatch(last)
        if found:
            whole = title.format(_words(found["rest"])) if "*" in suffix else title
            return " ".join(filter(None, [_words(found["head"] or ""), whole])), unit, better
    return _words(last) or "?", "", None


@cache
def _pattern(suffix: str) -> re.Pattern[str]:
    return re.compile(r"(?:(?P<head>.+?)_)?" + suffix.replace("*", "(?P<rest>.+)"), re.DOTALL)


def _words(name: str) -> str:
    return name.replace("_", " ").strip()
