"""Calibration on data whose right answer is known, and what is made of scores."""

import math

import pytest
import torch

from calligram.clip.calibration import expected_calibration_error, fit_sigmoid, fit_temperature
from calligram.clip.scoring import Scorer, calibrate, check_several, make_scorer
from calligram.errors import UserError


def drawn(temperature: float, count: int = 20_000, labels: int = 6):
    """Logits, and classes drawn from their softmax at a temperature."""
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn(count, labels, generator=generator)
    classes = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]
    return logits, classes


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_the_data_was_made_with_is_found(temperature):
    logits, classes = drawn(temperature)
    found = fit_temperature(logits, classes)
    assert found == pytest.approx(temperature, rel=0.04)
    before = expected_calibration_error(logits.softmax(-1), classes)
    after = expected_calibration_error((logits / found).softmax(-1), classes)
    assert after < 0.012
    assert temperature == 1.0 or before > 4 * after
    with torch.inference_mode():
        assert fit_temperature(100 * logits, classes) == pytest.approx(100 * found, rel=1e-3)


def test_the_calibration_error_of_known_cases():
    sure = torch.tensor([[1.0, 0.0]] * 4)
    assert expected_calibration_error(sure, torch.tensor([0, 0, 0, 0])) == 0
    assert expected_calibration_error(sure, torch.tensor([1, 1, 1, 1])) == 1
    assert expected_calibration_error(sure, torch.tensor([0, 1, 0, 1])) == 0.5
    mixed = torch.tensor([[0.8, 0.2], [0.6, 0.4]])
    assert expected_calibration_error(mixed, torch.tensor([0, 1])) == pytest.approx((0.2 + 0.6) / 2)


def test_the_sigmoid_that_the_data_was_made_with_is_found():
    generator = torch.Generator().manual_seed(1)
    cosines = 0.2 + 0.05 * torch.randn(4000, 5, generator=generator)
    applies = torch.rand(cosines.shape, generator=generator) < (60 * cosines - 13).sigmoid()
    scale, bias = fit_sigmoid(cosines, applies)
    assert scale == pytest.approx(60, rel=0.05)
    assert -bias / scale == pytest.approx(13 / 60, rel=0.02)


def test_what_cannot_be_calibrated_is_told():
    with pytest.raises(UserError, match="there are no labelled pictures"):
        fit_temperature(torch.empty(0, 3), torch.empty(0, dtype=torch.long))
    with pytest.raises(UserError, match="the 3 labelled pictures are all classified right"):
        fit_temperature(torch.eye(3), torch.arange(3))
    with pytest.raises(UserError, match="this model does not know these labels"):
        fit_temperature(torch.eye(3), torch.tensor([1, 2, 0]))
    with pytest.raises(UserError, match="labels that apply and labels that don't"):
        fit_sigmoid(torch.rand(3, 2), torch.ones(3, 2))
    with pytest.raises(UserError, match="this model does not know these labels"):
        fit_sigmoid(torch.tensor([[0.1, 0.2], [0.3, 0.1], [0.3, 0.3]]), torch.tensor([[1, 0], [0, 1], [0, 0]]))


class Siglip(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(math.log(10.0)))
        self.logit_bias = torch.nn.Parameter(torch.tensor(-10.0))

    def scale(self):
        return self.logit_scale.exp()


def test_several_labels_by_the_models_own_bias():
    label_CE = torch.eye(3)
    check_several(Siglip(), calibrated=False)
    scores = make_scorer(Siglip(), label_CE, "several")(torch.tensor([[1.0, 0.0, 0.0]]))
    torch.testing.assert_close(scores.probability_BC, torch.tensor([[0.0, -10.0, -10.0]]).sigmoid())
    plain = torch.nn.Module()
    check_several(plain, calibrated=True)
    with pytest.raises(UserError, match="nothing tells from which similarity on a label applies; give --calibrate"):
        check_several(plain, calibrated=False)


def test_a_picture_nearer_to_the_background_is_none_of_these():
    scorer = Scorer(torch.eye(4)[:2], 10.0, background_NE=torch.eye(4)[2:])
    scores = scorer(torch.tensor([[0.8, 0, 0.6, 0], [0.6, 0, 0, 0.8], [0.6, 0.8, 0, 0]]))
    assert scores.none_fits_B is not None and scores.none_fits_B.tolist() == [False, True, False]
    assert scores.background_B is not None and scores.background_B[:2].tolist() == [0, 1]
    torch.testing.assert_close(scores.probability_BC.sum(1), torch.ones(3))
    assert Scorer(torch.eye(4), 1.0)(torch.eye(4)).none_fits_B is None


@pytest.mark.parametrize("mode", ["one", "several"])
def test_calibrating_a_scorer_makes_its_probabilities_true(mode):
    generator = torch.Generator().manual_seed(0)
    label_CE = torch.nn.functional.normalize(torch.randn(8, 16, generator=generator), dim=-1)
    image_BE = torch.nn.functional.normalize(torch.randn(6000, 16, generator=generator), dim=-1)
    classes = torch.multinomial((5 * image_BE @ label_CE.T).softmax(-1), 1, generator=generator)[:, 0]
    found = calibrate(Scorer(label_CE, 100.0, mode=mode), image_BE, classes)
    assert found.num_pictures == 6000
    assert found.ece_before > 0.3
    assert found.ece_after < (0.03 if mode == "one" else found.ece_before / 3)  # a choice of one is no sigmoid
    if mode == "one":
        assert found.scorer.scale == pytest.approx(5, rel=0.1)
        assert found.temperature == pytest.approx(20, rel=0.1)
    else:
        share = found.scorer(image_BE).probability_BC.mean()
        assert float(share) == pytest.approx(1 / 8, rel=0.01)
