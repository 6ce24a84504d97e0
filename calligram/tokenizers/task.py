"""What training an image tokenizer minimises, and how its codes are used meanwhile.

# B batch, V vocabulary, h w the token grid
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from calligram.nn.image import to_float
from calligram.tokenizers.base import ImageTokenizer
from calligram.tokenizers.discriminator import PatchDiscriminator, deceiving_loss, hinge_loss, idle_loss
from calligram.tokenizers.losses import TokenizerLossConfig

SCALE = 10.0  # in units where a typical loss is near one, so that the gradient's norm is, too
DEAD_AFTER = 100  # passes without a use after which a code counts as dead

Distance = Callable[[Tensor, Tensor], Tensor]  # reconstruction and picture, (B, 3, H, W) in 0 … 1 → a number


class ReconstructionTask(nn.Module):
    """Batch {"image"} → how far the reconstruction is from it, and the tokenizer's own losses.

    ``distances`` are what models outside this room think of the difference, with their weights. ``mean`` averages a
    tensor over processes. A discriminator is the ``companion``: trained and saved with the model, but no part of it.
    """

    unseen_V: Tensor

    def __init__(
        self,
        model: ImageTokenizer,
        loss: TokenizerLossConfig | None = None,
        distances: Mapping[str, tuple[float, Distance]] | None = None,
        mean: Callable[[Tensor], Tensor] = lambda x: x,
    ):
        super().__init__()
        loss = loss or TokenizerLossConfig()
        self.model = model
        self.l2_weight = (0.0 if model.has_likelihood else 1.0) if loss.l2_weight is None else loss.l2_weight
        self.l1_weight = (0.0 if model.has_likelihood else 0.1) if loss.l1_weight is None else loss.l1_weight
        self.distances = dict(distances or {})
        self.mean = mean
        self.rivalry = loss.discriminator
        self.companion = PatchDiscriminator(loss.discriminator) if loss.discriminator.weight else None
        self.has_begun = loss.discriminator.start == 0
        # how many passes ago each code was used; counted anew where a run goes on
        self.register_buffer("unseen_V", torch.zeros(model.vocab_size, dtype=torch.long), persistent=False)

    def at_step(self, step: int) -> None:
        """Called before each step, from 0: what follows a schedule."""
        self.model.at_step(step)
        self.has_begun = step >= self.rivalry.start

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        images = to_float(batch["image"])
        found = self.model.learn(images)
        error = found.images - images
        mse = error.square().mean()
        losses = {"pixels": SCALE * (self.l2_weight * mse + self.l1_weight * error.abs().mean()), **found.losses}
        losses |= {name: weight * away(found.images, images) for name, (weight, away) in self.distances.items()}
        losses |= self._rivals(images, found.images)
        with torch.no_grad():
            metrics = {"psnr_db": -10 * mse.clamp(min=1e-12).log10(), **self._usage(found.ids_Bhw), **found.facts}
        if len(losses) > 1:
            metrics |= {f"{name}_loss": loss.detach() for name, loss in losses.items()}
        return torch.stack([*losses.values()]).sum(), metrics

    def _rivals(self, images: Tensor, rebuilt: Tensor) -> dict[str, Tensor]:
        """The discriminator's loss and the tokenizer's, which reach the weights of one of them each."""
        if self.companion is None:
            return {}
        if not self.has_begun:
            return {"discriminator": idle_loss(self.companion)}
        return {
            "discriminator": hinge_loss(self.companion, images, rebuilt),
            "deceiving": self.rivalry.weight * deceiving_loss(self.companion, rebuilt),
        }

    def _usage(self, ids_Bhw: Tensor) -> dict[str, Tensor]:
        """Share of codes that the batch uses, their perplexity, and how many have not been used for long."""
        share_V = self.mean(torch.bincount(ids_Bhw.flatten(), minlength=self.model.vocab_size) / ids_Bhw.numel())
        self.unseen_V += 1
        self.unseen_V[share_V > 0] = 0
        return {
            "batch_usage": (share_V > 0).float().mean(),
            "batch_perplexity": torch.special.entr(share_V).sum().exp(),
            "dead_codes": (self.unseen_V >= DEAD_AFTER).float().sum(),
        }
