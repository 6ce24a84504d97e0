"""A zero-shot classifier by generation: a picture belongs to the label that would most likely have led to it.

As diffusion models were made to classify (arXiv 2303.16203), but with exact likelihoods: p(label | picture) is
p(picture | label) · p(label) by Bayes.

# B pictures, N image tokens, C labels, K templates, T text tokens
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from calligram.dalle.likelihood import log_likelihood_of_texts
from calligram.dalle.model import Dalle
from calligram.errors import UserError
from calligram.tokenizers.text import TextTokenizer


class GenerativeClassifier:
    """Labels in the words of templates, as texts of a DALL-E; pictures come as image tokens."""

    def __init__(
        self, model: Dalle, text_tokenizer: TextTokenizer, labels: Sequence[str], templates: Sequence[str] = ("{}",)
    ):
        if not labels or not templates:
            raise UserError(f"{len(labels)} labels and {len(templates)} templates: give one of each at least")
        if without := [template for template in templates if "{}" not in template]:
            raise UserError(f'template "{without[0]}" has no {{}} where the label goes')
        self.model, self.num_labels = model, len(labels)
        texts = [template.replace("{}", label) for label in labels for template in templates]
        self.text_CT = text_tokenizer(texts, strict=True).to(model.image_embed.weight.device)

    def log_likelihoods(self, image_BN: Tensor) -> Tensor:
        """log p(picture | label), nats, (B, C): the mean over templates is one of probabilities."""
        log_p_BCK = log_likelihood_of_texts(self.model, self.text_CT, image_BN).unflatten(1, (self.num_labels, -1))
        num_templates = torch.tensor(float(log_p_BCK.shape[-1]))
        return log_p_BCK.logsumexp(-1) - num_templates.log().to(log_p_BCK.device)

    def probabilities(self, image_BN: Tensor, prior_C: Tensor | None = None) -> Tensor:
        """p(label | picture), (B, C), with all labels equally likely beforehand unless ``prior_C`` says otherwise."""
        log_p_BC = self.log_likelihoods(image_BN)
        return (log_p_BC if prior_C is None else log_p_BC + prior_C.to(log_p_BC.device).log()).softmax(-1)
