"""Spaces: named by what they are of, and Inception the one that torch-fidelity has."""

import pickle

import pytest
import torch

from calligram.clip.zero_shot import load_clip
from calligram.errors import UserError
from calligram.eval.space import Space
from calligram.eval.spaces import ClipSpace, InceptionSpace, load_space
from calligram.eval.spaces.inception import SIZE, _FidInception, to_input
from calligram.eval.spaces.load import space_name
from calligram.files import save_tensors
from calligram.pictures import to_image
from tests.tokenizers.kinds import pictures


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    model = _FidInception()
    state = {name: x.clone() for name, x in model.state_dict().items() if "num_batches" not in name}
    save_tensors(state, path)
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("runs/clip-shapes", "clip_shapes"),
        ("runs/clip-shapes/", "clip_shapes"),
        ("runs/My Run", "clip_my_run"),
        ("open_clip:ViT-B-32/openai", "clip_vit_b_32_openai"),
        ("hf:openai/clip-vit-base-patch32", "clip_openai_clip_vit_base_patch32"),
    ],
)
def test_names(text, name):
    assert space_name(text) == name


def test_a_clip_is_a_space(tiny_runs):
    space = load_space(str(tiny_runs.clip))
    assert isinstance(space, Space) and space.name == "clip"
    clip = load_clip(tiny_runs.clip)
    for images in (pictures(3, 16), pictures(3, 40)):
        wanted = torch.cat([clip.embed_images([to_image(image)]) for image in images])
        found = space.embed(images)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
        assert found.dtype == torch.float32 and found.device.type == "cpu"
    assert ClipSpace(clip, "clip_x").name == "clip_x"


@pytest.mark.parametrize("text", ["nowhere", "inception:nowhere.pth", "weights-inception-2015-12-05.pth"])
def test_what_is_not_there_is_named(text):
    with pytest.raises(UserError, match=text.rpartition(":")[2]):
        load_space(text)


def test_a_tokenizer_is_no_space(tiny_runs):
    with pytest.raises(UserError, match="is no space to compare pictures in: give the run of a CLIP"):
        load_space(str(tiny_runs.tokenizer))


def test_other_weights_are_refused(tmp_path):
    save_tensors({"Conv2d_1a_3x3.conv.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "inception.safetensors")
    with pytest.raises(UserError, match=r"it has no Conv2d_1a_3x3\.conv\.weight of \(32, 3, 3, 3\)"):
        load_space(str(tmp_path / "inception.safetensors"))


def test_nothing_is_unpickled(tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return open, (str(marker), "w")

    (tmp_path / "inception.pth").write_bytes(pickle.dumps({"x": Evil()}))
    with pytest.raises(UserError, match="safe to read"):
        load_space(str(tmp_path / "inception.pth"))
    assert not marker.exists()


def test_pictures_are_scaled_from_corner_to_corner():
    image = pictures(1, 20)
    found = to_input(image)
    assert found.shape == (1, 3, SIZE, SIZE)
    for row, column in ((0, 0), (150, 77), (298, 298), (3, 290)):
        y, x = row * 20 / SIZE, column * 20 / SIZE
        top, left = int(y), int(x)
        bottom, right = min(top + 1, 19), min(left + 1, 19)
        corners = image[0].double()
        above = corners[:, top, left] * (1 - x + left) + corners[:, top, right] * (x - left)
        below = corners[:, bottom, left] * (1 - x + left) + corners[:, bottom, right] * (x - left)
        wanted = (above * (1 - y + top) + below * (y - top) - 128) / 128
        torch.testing.assert_close(found[0, :, row, column].double(), wanted, atol=1e-4, rtol=0)


def test_inception_gives_2048_features(weights):
    space = load_space(f"inception:{weights}")
    assert isinstance(space, InceptionSpace) and space.name == "inception"
    found = space.embed(pictures(2, 32))
    assert found.shape == (2, 2048) and found.dtype == torch.float32 and not torch.equal(found[0], found[1])
    assert space.embed(pictures(2, 32)[:0]).shape == (0, 2048)


@pytest.mark.slow
def test_inception_is_torch_fidelitys(tmp_path):
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="needs torch-fidelity")
    torch.manual_seed(0)
    state = _FidInception().state_dict()
    for name, x in state.items():
        if name.endswith("running_var"):
            x.uniform_(0.01, 0.05)  # keeps activations from fading over 90 layers
    path = tmp_path / "inception.pth"
    torch.save(state, path)
    theirs = module.FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path))
    images = torch.randint(256, (2, 3, 48, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    wanted = theirs(images)[0]
    found = InceptionSpace(path).embed(images)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_a_picture_of_any_size_goes_in():
    assert to_input(torch.stack([torch.zeros(3, 5, 9, dtype=torch.uint8)])).shape == (1, 3, SIZE, SIZE)
