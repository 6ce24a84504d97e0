import torch

from calligram.dalle.sampling.noise import draw_noise


def test_noise_is_a_row_for_each_seed():
    noise = draw_noise([3, 4, 3], 1000)
    assert noise.dtype == torch.float64 and noise.shape == (3, 1000)
    assert torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[1])
    assert noise.min() >= 0 and noise.max() < 1
    assert torch.equal(draw_noise([4], 1000)[0], noise[1])
