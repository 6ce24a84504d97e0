import pytest
import torch

from calligram.dalle.classifier import GenerativeClassifier
from calligram.dalle.likelihood import log_likelihood
from calligram.dalle.sampling import SamplingConfig, sample
from calligram.errors import UserError

WORDS = {"red": 5, "blue": 6, "a": 7, "circle": 8}


class Words:
    """A text tokenizer of four words."""

    def __call__(self, texts, strict=False):
        assert strict
        rows = [[1, *(WORDS[word] for word in text.split()), 2] for text in texts]
        return torch.tensor([row + [0] * (6 - len(row)) for row in rows])


def test_probabilities_are_bayes_over_the_templates_mean(dalle, pictures):
    classifier = GenerativeClassifier(dalle, Words(), ["red", "blue"], ["a {}", "{} circle"])
    texts = Words()(["a red", "red circle", "a blue", "blue circle"], strict=True)
    p = torch.stack([log_likelihood(dalle, one.expand(3, -1), pictures).sum(1).double().exp() for one in texts], 1)
    of_labels = torch.stack([p[:, :2].mean(1), p[:, 2:].mean(1)], 1)
    found = classifier.log_likelihoods(pictures).double()
    torch.testing.assert_close(found, of_labels.log(), atol=1e-4, rtol=1e-5)
    equal = of_labels / of_labels.sum(1, keepdim=True)
    torch.testing.assert_close(classifier.probabilities(pictures).double(), equal, atol=1e-4, rtol=1e-4)
    prior = torch.tensor([0.9, 0.1])
    weighed = of_labels * prior / (of_labels * prior).sum(1, keepdim=True)
    torch.testing.assert_close(classifier.probabilities(pictures, prior).double(), weighed, atol=1e-4, rtol=1e-4)


def test_it_finds_the_label_that_a_picture_was_drawn_from(dalle):
    """Guided pictures of each label are likelier under their own more often than not."""
    labels = ["red", "blue", "circle"]
    texts = Words()([f"a {label}" for label in labels], strict=True).repeat_interleave(40, 0)
    drawn = sample(dalle, texts, range(120), SamplingConfig(guidance=2.0))
    found = GenerativeClassifier(dalle, Words(), labels, ["a {}"]).probabilities(drawn).argmax(1)
    right = (found == torch.arange(3).repeat_interleave(40)).float().mean()
    assert right > 0.5, right  # a third by chance


def test_labels_and_templates_are_checked(dalle):
    for labels, templates, message in (([], ["{}"], "0 labels"), (["red"], [], "0 templates"), (["red"], ["a"], '"a"')):
        with pytest.raises(UserError, match=message):
            GenerativeClassifier(dalle, Words(), labels, templates)
