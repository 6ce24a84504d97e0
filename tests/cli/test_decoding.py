"""Decoding ahead: in order, bounded, and the same pixels as the model's own preparation."""

import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from calligram.cli.decoding import THUMBNAIL, chunks, decode_ahead, decoder_for, thumbnail_of
from calligram.cli.pictures import Item
from calligram.data.decode import BadImage
from calligram.pictures import square, to_tensor, upright


class Model:
    """What the decoder asks a pipeline."""

    def __init__(self, size: int, squash: bool = False):
        self.squash = squash
        self.model = type("M", (), {"config": type("C", (), {"image_size": size})})

    def prepare(self, image):
        size = self.model.config.image_size
        return to_tensor(upright(image).resize((size, size)) if self.squash else square(upright(image), size))


def photograph() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(load_sample_images().images[0]).resize((1280, 960)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [224, 64])
def test_jpegs_are_scaled_while_decoded_only_where_the_model_reads_as_usual(size):
    data = photograph()
    image = Image.open(io.BytesIO(data))
    usual = decoder_for(Model(size))(data).int()
    assert (usual - to_tensor(square(image, size)).int()).abs().float().mean() < 0.6
    squashed = decoder_for(Model(size, squash=True))(data)
    assert torch.equal(squashed, to_tensor(image.convert("RGB").resize((size, size))))


def test_order_is_kept_and_no_more_than_asked_is_in_memory():
    alive, most, lock = 0, 0, threading.Lock()

    def read(number):
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        time.sleep(0.002 * (number % 3))
        if number % 7 == 3:
            raise BadImage("damaged")
        return str(number).encode()

    items = [Item(str(n), lambda n=n: read(n)) for n in range(50)]
    found = []
    for decoded in decode_ahead(items, lambda data: torch.tensor(int(data)), ahead=8, num_threads=4):
        found.append(decoded)
        with lock:
            alive -= 1
    assert [each.item.name for each in found] == [str(n) for n in range(50)]
    assert most <= 9
    for n, each in enumerate(found):
        assert (each.problem == "damaged") == (n % 7 == 3)
        assert each.pixels is None or int(each.pixels) == n


def test_a_list_without_end_is_read_only_so_far():
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield Item("x", lambda: b"")

    stream = decode_ahead(endless(), lambda data: torch.zeros(1), ahead=5)
    for _ in range(3):
        next(stream)
    stream.close()
    assert len(taken) <= 8


def test_an_error_of_ours_is_not_taken_for_a_bad_picture():
    def broken(data):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(decode_ahead([Item("x", lambda: b"")], broken, ahead=2))


def test_thumbnails_are_small_jpegs_of_the_whole_picture():
    image = Image.open(io.BytesIO(thumbnail_of(photograph())))
    assert image.format == "JPEG"
    assert image.size == (THUMBNAIL, THUMBNAIL * 3 // 4)
    with pytest.raises(BadImage):
        thumbnail_of(b"no picture")


def test_chunks():
    assert list(chunks(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert np.array(list(chunks([], 2))).size == 0
