"""Image tokenizer with lookup-free quantisation (LFQ, arXiv 2310.05737; on a sphere, arXiv 2406.07548).

Each latent channel is rounded to −1 or 1, and the token is the number that the signs spell. An entropy loss keeps each
latent sure of its code, and all codes in use.

# B batch, C latent channels (bits), h w the token grid, M latents of a batch
"""

from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from vector_quantize_pytorch import LFQ

from calligram.tokenizers.autoencoder import AnyAutoencoderConfig, AutoencoderConfig
from calligram.tokenizers.quantized import Quantised, QuantizedAutoencoder, whole_grid

GROUP = 12  # bits whose codes are told apart one by one: beyond that they would not fit into memory


class LFQConfig(BaseModel):
    """An LFQ image tokenizer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["lfq"] = "lfq"
    image_size: int = Field(default=64, ge=8, description="pixels a side")
    bits: int = Field(
        default=10, ge=1, le=24, description="channels of a latent; 2 to the power of it is the vocabulary"
    )
    spherical: bool = Field(default=False, description="latents and codes of unit length (BSQ)")
    commitment: float = Field(default=0.25, ge=0, description="weight of the latents' distance to their codes")
    entropy: float = Field(default=0.1, ge=0, description="weight of a latent's doubt about its code")
    diversity: float = Field(default=1.0, ge=0, description="of the evenness of all codes, over the doubt of each")
    temperature: float = Field(default=1.0, gt=0, description="of the distances that the entropies are taken of")
    autoencoder: AnyAutoencoderConfig = AutoencoderConfig()

    _grid_is_whole = model_validator(mode="after")(whole_grid)

    @property
    def vocab_size(self) -> int:
        return 2**self.bits

    @property
    def grid(self) -> int:
        """Tokens a side."""
        return self.image_size // self.autoencoder.factor


class LFQTokenizer(QuantizedAutoencoder):
    """Pictures ⇄ image tokens by the signs of latents."""

    config: LFQConfig

    def __init__(self, config: LFQConfig):
        super().__init__(
            config, config.bits, LFQ(dim=config.bits, codebook_size=config.vocab_size, spherical=config.spherical)
        )
        self.quantizer.eval()

    def train(self, mode: bool = True) -> Self:
        """The library's quantiser stays as in use.

        Its training adds losses whose average over processes is half of what it should be: it drops what
        ``all_reduce`` returns and divides all the same. They are computed here.
        """
        super().train(mode)
        self.quantizer.eval()
        return self

    def quantize(self, latent: Tensor) -> Quantised:
        with torch.autocast(latent.device.type, enabled=False):
            latent = latent.float()
            if self.config.spherical:
                latent = torch.nn.functional.normalize(latent, dim=1)
            codes, ids_Bhw, _ = self.quantizer(latent)
            losses = self._losses(latent, codes) if self.training else {}
            return latent + (codes - latent).detach(), ids_Bhw, losses

    def codes(self, ids_Bhw: Tensor) -> Tensor:
        return self.quantizer.indices_to_codes(ids_Bhw)

    def _losses(self, latent: Tensor, codes: Tensor) -> dict[str, Tensor]:
        config = self.config
        each, all_of_them = entropies(
            latent.movedim(1, -1).flatten(0, 2) / config.temperature, config.bits**-0.5 if config.spherical else 1.0
        )
        return {
            "commitment": config.commitment * (latent - codes.detach()).square().mean(),
            "entropy": config.entropy * (each - config.diversity * all_of_them),
        }


def entropies(latent_MC: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """How unsure a latent is of its code, on average, and how evenly the codes are chosen by all, in nats.

    A latent chooses a code c of ±``scale`` with a probability that falls with the square of their distance. Bits are
    taken in groups of twelve: the first number is exact, since bits are chosen independently; the second is where there
    is one group, and else at most too large.
    """
    each, even = latent_MC.new_zeros(()), latent_MC.new_zeros(())
    for part in latent_MC.split(GROUP, dim=1):
        bits = part.shape[1]
        numbers = torch.arange(2**bits, device=part.device)[:, None] >> torch.arange(bits, device=part.device)
        signs = ((numbers & 1) * 2 - 1).to(part.dtype)
        # |x − c|² = |x|² − 2 x·c + |c|², where only the middle differs between codes
        log_p = (2 * scale * part @ signs.T).log_softmax(-1)
        p = log_p.exp()
        each = each - (p * log_p).sum(-1).mean()
        even = even + torch.special.entr(p.mean(0)).sum()
    return each, even
