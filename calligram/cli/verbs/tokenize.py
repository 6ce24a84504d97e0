"""Writes image tokens beside the shards, for training a DALL-E."""

from typing import Annotated

import tyro
from pydantic import BaseModel, Field

from calligram.cli.console import counted
from calligram.cli.fields import Device, RunFolder
from calligram.cli.find import find_device
from calligram.cli.flags import parse
from calligram.data.place import Place


class Flags(BaseModel):
    """Encodes every picture of a split and keeps the tokens beside the shards.

    Training a DALL-E does the same where they are missing.
    """

    data: Annotated[Place, tyro.conf.Positional, tyro.conf.arg(metavar="SHARDS")] = Field(
        description="folder of a data set, or its URL"
    )
    tokenizer: RunFolder = Field(description="run of an image tokenizer")
    split: str = Field("train", description="split to encode")
    device: Device = "auto"


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram tokenize")
    from calligram.data.dataset import Shards
    from calligram.data.tokens import write_tokens
    from calligram.tokenizers.run import fingerprint, load_tokenizer

    device = find_device(flags.device)
    tokenizer = load_tokenizer(flags.tokenizer, device)
    shards = Shards(flags.data, flags.split)
    key, size = fingerprint(tokenizer), tokenizer.config.image_size
    write_tokens(shards, key, size, lambda images: tokenizer.encode(images.to(device)))
    print(
        f"{flags.data} {flags.split}: {counted(len(shards), 'sample')}, {tokenizer.grid**2} tokens each "
        f"of a vocabulary of {tokenizer.vocab_size}, tokenizer {key}"
    )
