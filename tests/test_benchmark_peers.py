"""DALLE-pytorch as a peer of the benchmark of drawing, where it is installed; else it is left out in one line."""

import importlib

import pytest
import torch

from benchmarks import _dalle_pytorch

SIZES = {"text": 4, "grid": 4, "words": 20, "codes": 30, "width": 32, "heads": 2}


@pytest.fixture
def package():
    return _dalle_pytorch.load() or pytest.skip(f"needs DALLE-pytorch: {_dalle_pytorch.INSTALL}")


def test_without_the_package_one_line_tells_how_to_get_it(monkeypatch, capsys):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    assert _dalle_pytorch.load() is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "No module named 'dalle_pytorch'" in said
    assert "pip install --no-deps --target" in said


def test_it_draws_image_tokens_only_and_as_many_as_asked(package):
    text = torch.randint(1, 20, (3, 4), generator=torch.Generator().manual_seed(0))
    for peer in _dalle_pytorch.peers(package, **SIZES):
        for number in (5, 16):
            codes = peer.draw(text, number)
            assert codes.shape == (3, number), peer.name
            assert 0 <= int(codes.min()) <= int(codes.max()) < 30, peer.name


def test_the_mended_cache_changes_no_logits(package):
    cached, *_ = _dalle_pytorch.peers(package, **SIZES)
    text = torch.randint(1, 20, (2, 4), generator=torch.Generator().manual_seed(0))
    codes = torch.randint(0, 30, (2, 15), generator=torch.Generator().manual_seed(1))
    assert _dalle_pytorch.check_cache(cached, text, codes) < 1e-4


def test_only_the_mended_one_reads_each_token_once(package):
    text = torch.randint(1, 20, (1, 4), generator=torch.Generator().manual_seed(0))
    *cached, released = _dalle_pytorch.peers(package, **SIZES)
    for peer, lengths in ((cached[0], [5, 1, 1]), (released, [5, 6, 7])):
        seen = []
        peer.model.transformer.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].shape[1]))
        peer.draw(text, 3)
        assert seen == lengths, peer.name
