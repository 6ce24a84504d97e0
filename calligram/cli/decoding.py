"""Pictures read and decoded by threads while the model runs, in order, a bounded number ahead."""

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from calligram.cli.pictures import Item
from calligram.data.decode import BadImage, decode_image, decode_square
from calligram.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from calligram.clip.zero_shot import ClipPipeline

Element = TypeVar("Element")
THUMBNAIL = 192  # pixels of the longer side
PROBE = (37, 23)  # pixels; neither square nor even


@dataclass(frozen=True)
class Decoded:
    """A picture as the model reads it, uint8 (3, H, W), and as a person does; or what is wrong with it."""

    item: Item
    pixels: "Tensor | None" = None
    thumbnail: bytes | None = None  # JPEG
    problem: str | None = None


def decode_ahead(
    items: Iterable[Item],
    decode: "Callable[[bytes], Tensor]",
    ahead: int,
    thumbnails: bool = False,
    num_threads: int | None = None,
) -> Iterator[Decoded]:
    """Every item in its order; at most ``ahead`` of them are in memory at a time."""
    pending: deque[Future[Decoded]] = deque()
    pool = ThreadPoolExecutor(num_threads or _num_cores())
    try:
        for item in items:
            pending.append(pool.submit(_decode, item, decode, thumbnails))
            if len(pending) == ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def decoder_for(clip: "ClipPipeline") -> "Callable[[bytes], Tensor]":
    """Bytes → what the model reads: JPEGs scaled while they are decoded, where the model reads pictures as usual."""
    if _reads_as_usual(clip):
        size = clip.model.config.image_size
        return lambda data: decode_square(data, size)
    return lambda data: clip.prepare(decode_image(data))


def _reads_as_usual(clip: "ClipPipeline") -> bool:
    """True for a bicubic resize of the shorter side and a centre crop. The model is asked with a picture: only it
    knows what it does."""
    import numpy as np
    import torch
    from PIL import Image

    from calligram.pictures import square, to_tensor

    size = clip.model.config.image_size
    width, height = (max(side * size // 16, side) for side in PROBE)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    prepared = clip.prepare(image)
    usual = to_tensor(square(image, size))
    return prepared.shape == usual.shape and bool(torch.equal(prepared.cpu(), usual))


def chunks(elements: Iterable[Element], size: int) -> Iterator[list[Element]]:
    iterator = iter(elements)
    while chunk := list(islice(iterator, size)):
        yield chunk


def thumbnail_of(data: bytes) -> bytes:
    """A small JPEG of a picture. Raises BadImage."""
    image = decode_image(data)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _decode(item: Item, decode: "Callable[[bytes], Tensor]", thumbnails: bool) -> Decoded:
    try:
        data = item.read()
        return Decoded(item, decode(data), thumbnail_of(data) if thumbnails else None)
    except (BadImage, UserError) as error:
        return Decoded(item, problem=str(error))
    except FileNotFoundError:
        return Decoded(item, problem="no such file")
    except OSError as error:
        return Decoded(item, problem=str(error.strerror or error))


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
