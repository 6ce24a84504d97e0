import numpy as np
import pytest
import torch
from PIL import Image

from calligram.nn.image import BatchNormResidual, ConvStem, stack_images, to_float, to_uint8


def test_uint8_survives_the_way_to_float_and_back():
    every_value = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_uint8(to_float(every_value)), every_value)
    assert to_float(every_value).min() == 0 and to_float(every_value).max() == 1


def test_floats_pass_and_are_clamped_and_rounded_on_the_way_out():
    x = torch.tensor([-0.5, 0.0, 0.5, 0.999, 1.7])
    assert to_float(x) is x
    assert to_uint8(x).tolist() == [0, 0, 128, 255, 255]


def test_pictures_of_any_size_become_one_tensor():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels), Image.new("L", (30, 9), 7), Image.new("RGBA", (8, 20), (0, 0, 0, 0))]
    stacked = stack_images(pictures, 8)
    assert stacked.shape == (3, 3, 8, 8) and stacked.dtype == torch.uint8
    assert np.array_equal(stacked[0].permute(1, 2, 0).numpy(), pixels)
    assert (stacked[1] == 7).all()
    assert (stacked[2] == 255).all(), "transparency lies on white, as in training"


def test_a_tensor_of_the_models_size_passes_and_another_is_refused():
    x = torch.zeros(2, 3, 8, 8)
    assert stack_images(x, 8) is x
    with pytest.raises(ValueError, match=r"images of shape \(2, 3, 8, 8\): the model reads \(B, 3, 16, 16\)"):
        stack_images(x, 16)


def test_the_stem_halves_once_a_channel_and_its_blocks_start_as_the_identity():
    stem = ConvStem((4, 6), blocks=1)
    assert stem(torch.randn(2, 3, 16, 16)).shape == (2, 6, 4, 4)
    x = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(BatchNormResidual(4)(x), torch.nn.functional.gelu(x))
