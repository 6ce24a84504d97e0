"""From vectors to verdicts: how probable each label is, and whether none of them fits.

# B pictures, C labels, N words of a background, E embedding
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from calligram.clip.calibration import expected_calibration_error, fit_sigmoid, fit_temperature
from calligram.clip.model import Clip
from calligram.errors import UserError

Mode = Literal["one", "several"]


@dataclass(frozen=True)
class Scores:
    """What is known of some pictures. ``background_B`` is the nearest word of the background, if there is one."""

    probability_BC: Tensor
    similarity_B: Tensor  # cosine of the nearest label
    background_similarity_B: Tensor | None = None
    background_B: Tensor | None = None

    @property
    def none_fits_B(self) -> Tensor | None:
        """True where a word of the background is nearer than every label."""
        return None if self.background_similarity_B is None else self.background_similarity_B > self.similarity_B


@dataclass(frozen=True)
class Scorer:
    """Compares pictures with labels. ``mode`` "one": exactly one label is right; "several": each may be, or none."""

    label_CE: Tensor
    scale: float
    bias: float = 0.0
    mode: Mode = "one"
    background_NE: Tensor | None = None

    def logits(self, image_BE: Tensor) -> Tensor:
        return self.scale * image_BE @ self.label_CE.T + self.bias

    @torch.inference_mode()
    def __call__(self, image_BE: Tensor) -> Scores:
        """Scores of pictures (B, E)."""
        logits_BC = self.logits(image_BE)
        probability_BC = logits_BC.softmax(-1) if self.mode == "one" else logits_BC.sigmoid()
        similarity_B = (image_BE @ self.label_CE.T).amax(-1)
        if self.background_NE is None:
            return Scores(probability_BC, similarity_B)
        nearest = (image_BE @ self.background_NE.T).max(-1)
        return Scores(probability_BC, similarity_B, nearest.values, nearest.indices)


def make_scorer(model: Clip, label_CE: Tensor, mode: Mode = "one", background_NE: Tensor | None = None) -> Scorer:
    """With the model's own temperature; for several labels also its bias, where it was trained with one (SigLIP)."""
    bias = getattr(model, "logit_bias", None)
    scale = float(model.scale().detach())
    return Scorer(label_CE, scale, 0.0 if bias is None else float(bias.detach()), mode, background_NE)


def check_several(model: Clip, calibrated: bool) -> None:
    """Raises UserError where nothing tells from which similarity on a label applies."""
    if getattr(model, "logit_bias", None) is None and not calibrated:
        raise UserError(
            "several labels a picture: this model was trained to choose one, so that nothing tells from which "
            "similarity on a label applies; give --calibrate SHARDS with labelled pictures, or a SigLIP model"
        )


@dataclass(frozen=True)
class Calibration:
    """What calibrating did. ``ece`` is the expected calibration error, of the labelled pictures themselves."""

    scorer: Scorer
    num_pictures: int
    temperature: float  # 1 where the model's own was right already
    ece_before: float
    ece_after: float


def calibrate(scorer: Scorer, image_BE: Tensor, class_B: Tensor) -> Calibration:
    """The same scorer with the scale, and for several labels the bias, that fit pictures of known classes best."""
    before = scorer(image_BE).probability_BC
    if scorer.mode == "one":
        temperature = fit_temperature(scorer.logits(image_BE), class_B)
        fitted = replace(scorer, scale=scorer.scale / temperature)
    else:
        applies_BC = torch.nn.functional.one_hot(class_B.cpu(), len(scorer.label_CE))
        scale, bias = fit_sigmoid(image_BE @ scorer.label_CE.T, applies_BC)
        fitted, temperature = replace(scorer, scale=scale, bias=bias), scorer.scale / scale
    after = fitted(image_BE).probability_BC
    errors = [expected_calibration_error(x, class_B) for x in (before, after)]
    return Calibration(fitted, len(class_B), temperature, errors[0], errors[1])
