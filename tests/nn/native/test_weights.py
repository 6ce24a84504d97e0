import torch

from calligram.nn.native.weights import rounded, to_int8


def test_int8_is_within_half_a_step_of_the_weight():
    weight = torch.randn(20, 64, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 20)[:, None]
    whole, scale = to_int8(weight)
    assert whole.dtype == torch.int8 and whole.abs().amax(1).tolist() == [127] * 20
    assert ((rounded(weight, "int8") - weight).abs() <= scale[:, None] * 0.5001).all()


def test_a_row_of_zeros_stays_one():
    assert torch.equal(rounded(torch.zeros(3, 8), "int8"), torch.zeros(3, 8))


def test_rounding_twice_is_rounding_once():
    weight = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    for precision in ("bf16", "int8"):
        once = rounded(weight, precision)
        assert not torch.equal(once, weight)
        torch.testing.assert_close(rounded(once, precision), once, atol=1e-7, rtol=3e-7)
    assert rounded(weight, "fp32") is weight
