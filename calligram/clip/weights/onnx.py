"""Both towers as ONNX graphs, which many runtimes execute without PyTorch."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from calligram.clip.model import Clip
from calligram.clip.weights.export import make_folder
from calligram.errors import UserError
from calligram.tokenizers.text import TextTokenizer

OPSET = 20


class _Images(nn.Module):
    def __init__(self, clip: Clip):
        super().__init__()
        self.clip = clip

    def forward(self, images: Tensor) -> Tensor:
        return self.clip.encode_image(images)


class _Texts(nn.Module):
    def __init__(self, clip: Clip):
        super().__init__()
        self.clip = clip

    def forward(self, text: Tensor) -> Tensor:
        return self.clip.encode_text(text)


def export_onnx(model: Clip, tokenizer: TextTokenizer, out: Path) -> None:
    """``image.onnx``: images (B, 3, S, S), floats in 0 … 1; ``text.onnx``: ids (B, T). Out come unit vectors (B, E).

    Mean and deviation are part of the graph. ``text_tokenizer.json`` makes the ids.
    """
    try:
        import onnxscript  # noqa: F401  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError:
        raise UserError("ONNX takes a few packages more: pip install 'calligram[onnx]'") from None
    make_folder(out)
    size, length = model.config.image_size, model.config.text.context_length
    images = torch.rand(2, 3, size, size)
    text = tokenizer(["a", "a b"])
    assert text.shape == (2, length)
    model = model.eval().cpu()
    for name, tower, example, given in (
        ("image", _Images(model), images, "images"),
        ("text", _Texts(model), text, "text"),
    ):
        batch = torch.export.Dim("batch", min=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own business
            program = torch.onnx.export(
                tower,
                (example,),
                input_names=[given],
                output_names=["embeddings"],
                dynamic_shapes={given: {0: batch}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        program.save(out / f"{name}.onnx")
    tokenizer.save(out / "text_tokenizer.json")
