import torch

from calligram.nn.shift import TokenShift


def test_each_token_takes_in_those_before_it_and_none_after():
    torch.manual_seed(0)
    shift, x = TokenShift(4, 2), torch.randn(3, 5, 4)
    out = shift(x)
    near, far = shift.gain
    torch.testing.assert_close(out[:, 0], x[:, 0])
    torch.testing.assert_close(out[:, 1], x[:, 1] + near * x[:, 0])
    torch.testing.assert_close(out[:, 4], x[:, 4] + near * x[:, 3] + far * x[:, 2])


def test_texts_shorter_than_its_reach():
    shift, x = TokenShift(4, 3), torch.randn(2, 1, 4)
    torch.testing.assert_close(shift(x), x)


def test_near_and_far_do_not_look_alike():
    near, far = TokenShift(64, 2).gain
    assert (near - far).abs().mean() > 0.02


def test_texts_packed_into_one_row_stay_apart():
    shift, x = TokenShift(4, 2), torch.randn(1, 7, 4)
    packed = shift(x, torch.tensor([0, 0, 1, 2, 0, 1, 2]))
    torch.testing.assert_close(packed, torch.cat([shift(part) for part in x.split([1, 3, 3], dim=1)], 1))
    torch.testing.assert_close(shift(x[0], torch.tensor([0, 0, 1, 2, 0, 1, 2])), packed[0])
