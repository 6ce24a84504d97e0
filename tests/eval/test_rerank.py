"""CLIP's order of pictures is that of their similarity to the prompt."""

import pytest
import torch
from PIL import Image

import calligram
from calligram.eval.rerank import clip_scores, rerank
from calligram.pictures import to_image


@pytest.fixture(scope="module")
def clip(tiny_runs):
    return calligram.load_clip(tiny_runs.clip)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_scores_are_cosines(clip, images):
    expected = (clip.embed_images(images) @ clip.embed_texts(["a red star"]).T)[:, 0]
    torch.testing.assert_close(clip_scores(clip, images, "a red star"), expected)


def test_each_picture_may_have_its_own_prompt(clip, images):
    prompts = ["a red star", "two blue rings", "a red star", "a cross", "two blue rings"]
    expected = (clip.embed_images(images) * clip.embed_texts(prompts)).sum(-1)
    torch.testing.assert_close(clip_scores(clip, images, prompts), expected)


def test_pictures_and_their_tensors_score_alike(clip, images):
    expected = clip_scores(clip, images, "a red star")
    torch.testing.assert_close(clip_scores(clip, [to_image(x) for x in images], "a red star"), expected)


def test_another_size_is_scaled_as_in_training(clip, images):
    large = images.repeat_interleave(3, 2).repeat_interleave(3, 3)
    as_pictures = [to_image(x) for x in large]
    torch.testing.assert_close(clip_scores(clip, large, "a red star"), clip_scores(clip, as_pictures, "a red star"))


def test_a_number_of_prompts_that_does_not_fit(clip, images):
    with pytest.raises(ValueError, match="5 pictures for 2 prompts"):
        clip_scores(clip, images, ["a", "b"])


def test_the_best_comes_first_and_equals_stay_in_order(clip, images):
    images = torch.cat([images, images[:2]])
    order, scores = rerank(clip, "a red star", images)
    assert sorted(order) == list(range(7))
    ranked = scores[order]
    assert bool((ranked[:-1] >= ranked[1:]).all())
    assert order.index(0) + 1 == order.index(5)
    assert order.index(1) + 1 == order.index(6)


def test_pictures_that_show_the_prompt_win():
    """With a CLIP that is sure to know: its words and pictures are brightness."""

    class Brightness:
        class model:
            class config:
                image_size = 4

        def embed_images(self, images):
            share = torch.stack([torch.tensor(image.resize((1, 1)).getpixel((0, 0))[0] / 255) for image in images])
            return torch.stack([share, 1 - share], 1)

        def embed_texts(self, texts):
            return torch.tensor([[1.0, 0.0] if text == "white" else [0.0, 1.0] for text in texts])

    pictures = [Image.new("RGB", (4, 4), (grey,) * 3) for grey in (100, 255, 0)]
    assert rerank(Brightness(), "white", pictures)[0] == [1, 0, 2]
    assert rerank(Brightness(), "black", pictures)[0] == [2, 0, 1]
