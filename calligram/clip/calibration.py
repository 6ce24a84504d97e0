"""Probabilities that can be believed: a temperature, or a slope and a threshold, fitted on labelled pictures.

# B pictures, C labels
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from calligram.errors import UserError

UNKNOWN = "on the labelled pictures a label applies the less the nearer it is: this model does not know these labels"
STEPS = 200  # of L-BFGS at most; one or two numbers take some ten


@torch.inference_mode(False)
@torch.enable_grad()
def fit_temperature(logits_BC: Tensor, class_B: Tensor) -> float:
    """The number by which to divide logits so that the likelihood of the classes is greatest (arXiv 1706.04599)."""
    _check(logits_BC, class_B)
    logits_BC, class_B = logits_BC.double().cpu().clone(), class_B.cpu().clone()
    if bool((logits_BC.argmax(1) == class_B).all()):
        raise UserError(
            f"the {len(class_B)} labelled pictures are all classified right, so that no probability is too high for "
            f"them: calibrate with more, or with harder ones"
        )
    if float(logits_BC.gather(1, class_B[:, None]).mean() - logits_BC.mean()) <= 0:  # no probability would be too low
        raise UserError(UNKNOWN)
    # in the logarithm, so that it stays positive; started where the logits have a spread of about one
    log_temperature = logits_BC.std().clamp_min(1e-6).log().requires_grad_()

    def loss() -> Tensor:
        return F.cross_entropy(logits_BC / log_temperature.exp(), class_B)

    _minimise([log_temperature], loss)
    return float(log_temperature.detach().exp())


@torch.inference_mode(False)
@torch.enable_grad()
def fit_sigmoid(similarity_BC: Tensor, applies_BC: Tensor) -> tuple[float, float]:
    """Scale and bias with which ``sigmoid(scale · similarity + bias)`` is a label's probability (Platt's scaling)."""
    if not 0 < int(applies_BC.sum()) < applies_BC.numel():
        raise UserError("calibrating needs labels that apply and labels that don't: give labelled pictures of both")
    x_BC, target_BC = similarity_BC.double().cpu().clone(), applies_BC.double().cpu().clone()
    mean, std = x_BC.mean(), x_BC.std().clamp_min(1e-6)
    standard_BC = (x_BC - mean) / std  # cosines differ in the second digit, which would make a stiff problem
    slope, offset = torch.tensor(1.0, dtype=torch.double), torch.tensor(0.0, dtype=torch.double)
    for parameter in (slope, offset):
        parameter.requires_grad_()

    def loss() -> Tensor:
        # a touch of decay, without which labels that can be told apart without a fault would have no best slope
        return F.binary_cross_entropy_with_logits(slope * standard_BC + offset, target_BC) + 1e-6 * slope**2

    _minimise([slope, offset], loss)
    scale = float(slope.detach() / std)
    if scale <= 0:
        raise UserError(UNKNOWN)
    return scale, float(offset.detach()) - scale * float(mean)


def expected_calibration_error(probability_BC: Tensor, class_B: Tensor, bins: int = 15) -> float:
    """How far confidence is from accuracy, over bins of equal width (arXiv 1706.04599): 0 is perfect, 1 the worst."""
    _check(probability_BC, class_B)
    confidence_B, best_B = probability_BC.double().cpu().max(1)
    right_B = (best_B == class_B.cpu()).double()
    bin_B = (confidence_B * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=torch.double).index_add_(0, bin_B, right_B - confidence_B)
    return float(gap.abs().sum() / len(class_B))


def _minimise(parameters: list[Tensor], loss: Callable[[], Tensor]) -> None:
    optimiser = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)


def _check(x_BC: Tensor, class_B: Tensor) -> None:
    if len(class_B) == 0:
        raise UserError("there are no labelled pictures to calibrate with: give shards that have classes")
    if len(x_BC) != len(class_B) or int(class_B.min()) < 0 or int(class_B.max()) >= x_BC.shape[1]:
        raise ValueError(f"{len(class_B)} classes for logits of shape {tuple(x_BC.shape)}")
