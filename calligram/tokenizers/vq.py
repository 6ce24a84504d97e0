"""Image tokenizer with a codebook: vector quantisation (VQ, arXiv 1711.00937).

Codes are few-dimensional and of unit length, so that the nearest one is that of the smallest angle (arXiv 2110.04627),
and follow the latents that choose them by running averages. They begin at the centres of a k-means over the first
batch; one that nearly nobody chooses any more moves to a latent of the batch. Or the codebook is a learned linear map
of fixed random vectors, which moves all codes at once (SimVQ, arXiv 2411.02038).

# B batch, C latent channels, V vocabulary, h w the token grid
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from vector_quantize_pytorch import SimVQ, VectorQuantize

from calligram.tokenizers.autoencoder import AnyAutoencoderConfig, AutoencoderConfig
from calligram.tokenizers.quantized import Quantised, QuantizedAutoencoder, whole_grid


class AveragedCodebook(BaseModel):
    """Codes of unit length, running averages of the latents that chose them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["ema"] = "ema"
    decay: float = Field(default=0.95, ge=0, lt=1, description="of the running averages, at each batch")
    dead_below: float = Field(
        default=0.05, ge=0, lt=1, description="share of the average use below which a code begins anew; 0: never"
    )


class MappedCodebook(BaseModel):
    """A learned linear map of fixed random vectors (arXiv 2411.02038)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["simvq"] = "simvq"


class VQConfig(BaseModel):
    """A VQ image tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["vq"] = "vq"
    image_size: int = Field(default=64, ge=8, description="pixels a side")
    vocab_size: int = Field(default=1024, ge=2, description="codes in the codebook")
    code_dim: int = Field(default=16, ge=2, description="channels of a code: few, or only a few codes are ever used")
    codebook: Annotated[AveragedCodebook | MappedCodebook, Field(discriminator="type")] = AveragedCodebook()
    commitment: float = Field(default=0.25, ge=0, description="weight of the latents' distance to their codes")
    autoencoder: AnyAutoencoderConfig = AutoencoderConfig()

    _grid_is_whole = model_validator(mode="after")(whole_grid)

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return self.image_size // self.autoencoder.factor


class VQTokenizer(QuantizedAutoencoder):
    """Pictures ⇄ image tokens by a codebook.

    ``num_processes`` is how many train it together, each on its share of a batch: they average what they see, so that
    the codebook is the same in all of them.
    """

    config: VQConfig

    def __init__(self, config: VQConfig, num_processes: int = 1):
        super().__init__(config, config.code_dim, _quantizer(config, num_processes > 1))
        self.num_processes = num_processes

    @property
    def _codebook_VC(self) -> Tensor:
        return self.quantizer.codebook

    def quantize(self, latent: Tensor) -> Quantised:
        with torch.autocast(latent.device.type, enabled=False):  # near codes differ by less than bf16 can tell
            latent = latent.float()
            return self._learn(latent) if self.training else self._look_up(latent)

    def codes(self, ids_Bhw: Tensor) -> Tensor:
        return F.embedding(ids_Bhw, self._codebook_VC).movedim(-1, 1)

    def _learn(self, latent: Tensor) -> Quantised:
        if isinstance(self.config.codebook, AveragedCodebook):
            self._set_threshold(self.config.codebook, latent.shape[0] * latent[0, 0].numel())
        codes, ids_Bhw, loss = self.quantizer(latent)
        return codes, ids_Bhw, {"commitment": loss.reshape(())}

    def _look_up(self, latent: Tensor) -> Quantised:
        """The library's own pass would begin an untrained codebook with whatever it is shown, also in use."""
        x, codebook_VC = latent.movedim(1, -1).flatten(0, 2), self._codebook_VC
        if isinstance(self.config.codebook, AveragedCodebook):
            ids = (F.normalize(x, dim=-1, eps=1e-6) @ codebook_VC.T).argmax(-1)
        else:
            ids = torch.cdist(x, codebook_VC).argmin(-1)
        ids_Bhw = ids.view(latent.shape[0], *latent.shape[2:])
        return self.codes(ids_Bhw), ids_Bhw, {}

    def _set_threshold(self, config: AveragedCodebook, num_latents: int) -> None:
        """The library counts uses in a batch: what is few depends on how many latents there are."""
        codebook = self.quantizer._codebook
        average = num_latents * self.num_processes / self.config.vocab_size
        codebook.threshold_ema_dead_code = config.dead_below * average
        codebook.reset_cluster_size = average  # so that a code that begins anew has some batches to be chosen in


def _quantizer(config: VQConfig, in_step: bool) -> nn.Module:
    """``in_step``: with other processes."""
    if isinstance(config.codebook, MappedCodebook):
        return SimVQ(
            dim=config.code_dim,
            codebook_size=config.vocab_size,
            channel_first=True,
            commitment_weight=config.commitment,
        )
    return VectorQuantize(
        dim=config.code_dim,
        codebook_size=config.vocab_size,
        decay=config.codebook.decay,
        kmeans_init=True,
        use_cosine_sim=True,
        threshold_ema_dead_code=int(config.codebook.dead_below > 0),  # whether at all; how few is told at each batch
        commitment_weight=config.commitment,
        accept_image_fmap=True,
        sync_codebook=in_step,  # said here: the library remembers what it found when it first looked
    )
