import pytest
import torch
from pydantic import ValidationError

from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.fsq import FSQConfig, FSQTokenizer
from calligram.tokenizers.losses import TokenizerLossConfig
from calligram.tokenizers.task import ReconstructionTask

# grid 4 × 4 of 60 tokens
CONFIG = FSQConfig(
    image_size=16, levels=(5, 4, 3), autoencoder=AutoencoderConfig(patch=2, channels=(16, 16), num_blocks=1)
)


@pytest.fixture(scope="module")
def tokenizer() -> FSQTokenizer:
    """Random weights, spread so far that the pictures below reach many tokens."""
    torch.manual_seed(0)
    model = FSQTokenizer(CONFIG).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_encode_gives_one_id_a_cell_of_the_grid(tokenizer, images):
    ids = tokenizer.encode(images)
    assert (tokenizer.grid, tokenizer.vocab_size) == (4, 60)
    assert ids.shape == (6, 16) and ids.dtype == torch.int64
    assert ids.min() >= 0 and ids.max() < 60
    assert len(ids.unique()) > 10


def test_decode_gives_pictures_for_every_id(tokenizer):
    ids = torch.arange(64).clamp(max=59).view(4, 16)
    pictures = tokenizer.decode(ids)
    assert pictures.shape == (4, 3, 16, 16)
    assert pictures.min() >= 0 and pictures.max() <= 1
    again = tokenizer.encode(pictures)
    assert again.min() >= 0 and again.max() < 60


def test_every_id_has_a_code_of_its_own_and_comes_back_from_it(tokenizer):
    ids = torch.arange(60).view(1, 60)
    codes = tokenizer.quantizer.indices_to_codes(ids)
    assert len(codes[0].unique(dim=0)) == 60
    assert torch.equal(tokenizer.quantizer.codes_to_indices(codes).long(), ids)


def test_training_and_use_take_the_same_way(tokenizer, images):
    """forward is decode(encode) but for the clamp; uint8 and floats are the same pictures."""
    reconstruction, ids = tokenizer(images)
    assert torch.equal(ids.flatten(1).long(), tokenizer.encode(images))
    torch.testing.assert_close(reconstruction.clamp(0, 1), tokenizer.decode(tokenizer.encode(images)))
    assert torch.equal(tokenizer.encode(images / 255), tokenizer.encode(images))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 3), (3, 0), (2, 1)])
def test_ids_lie_in_raster_order(row, column):
    """With no layer that looks beyond its cell, a change in one cell changes only the id at row · grid + column."""
    torch.manual_seed(0)
    local = AutoencoderConfig(patch=4, channels=(16,), num_blocks=0)
    model = FSQTokenizer(FSQConfig(image_size=16, levels=(8, 8, 8), autoencoder=local)).eval()
    before = torch.zeros(1, 3, 16, 16)
    after = before.clone()
    after[:, :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = 1
    changed = (model.encode(before) != model.encode(after)).flatten().nonzero().flatten().tolist()
    assert changed == [row * 4 + column]
    # and decode puts the id where encode found it; the decoder's one 3 × 3 convolution reaches the neighbours
    ids = model.encode(after)
    other = ids.clone()
    other[0, row * 4 + column] = model.encode(before)[0, 0]
    difference = torch.nn.functional.avg_pool2d((model.decode(ids) - model.decode(other)).abs().sum(1), 4)[0]
    neighbours = [[y, x] for y in range(4) for x in range(4) if abs(y - row) <= 1 and abs(x - column) <= 1]
    assert difference.nonzero().tolist() == neighbours


def test_a_picture_does_not_depend_on_its_batch(tokenizer, images):
    together = tokenizer.encode(images)
    alone = torch.cat([tokenizer.encode(image[None]) for image in images])
    assert torch.equal(together, alone)
    torch.testing.assert_close(tokenizer.decode(together)[2:3], tokenizer.decode(together[2:3]))


def test_the_task_reports_what_the_reconstruction_is_worth(tokenizer, images):
    task = ReconstructionTask(tokenizer, TokenizerLossConfig(l1_weight=0.5))
    loss, metrics = task({"image": images})
    reconstruction, ids = tokenizer(images)
    error = reconstruction - images / 255
    mse = error.square().mean()
    torch.testing.assert_close(loss, 10 * (mse + 0.5 * error.abs().mean()))
    torch.testing.assert_close(metrics["psnr_db"], -10 * mse.log10())
    assert metrics["batch_usage"].item() == pytest.approx(len(ids.unique()) / 60)


def test_gradients_pass_the_rounding(images):
    model = FSQTokenizer(CONFIG)
    loss, _ = ReconstructionTask(model)({"image": images})
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.encoder.layers[0].weight.grad.abs().max() > 0


@pytest.mark.parametrize("channels", [8, 24, 56, 96])
def test_any_number_of_channels_will_do(channels):
    config = FSQConfig(image_size=8, autoencoder=AutoencoderConfig(channels=(channels,), num_blocks=1))
    assert FSQTokenizer(config).encode(torch.zeros(1, 3, 8, 8)).shape == (1, 4)


def test_wrong_sizes_are_refused_with_the_reason():
    with pytest.raises(ValidationError, match="image_size 18 is not divisible by 8"):
        FSQConfig(image_size=18)
    with pytest.raises(ValidationError, match=r"levels \(8, 2\): name at least one channel, each with 3 levels"):
        FSQConfig(levels=(8, 2))
