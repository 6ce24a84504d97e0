"""Codebooks that follow the latents, trained by two real processes with DDP and in pieces: the same in both."""

import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.train.processes import ENVIRONMENT, command

SCRIPT = """
import sys
from pathlib import Path

import torch

from calligram.files import save_tensors
from calligram.tokenizers.autoencoder import AutoencoderConfig
from calligram.tokenizers.losses import DiscriminatorConfig, TokenizerLossConfig
from calligram.tokenizers.image import build_image_tokenizer
from calligram.tokenizers.task import ReconstructionTask
from calligram.tokenizers.vq import AveragedCodebook, VQConfig
from calligram.train import distributed, loop
from calligram.train.config import TrainConfig


class Batches:
    def __init__(self):
        self.step = 0

    def __iter__(self):
        while self.step < 6:
            images = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(self.step))
            share = 16 // distributed.world_size()
            self.step += 1
            yield {"image": images[distributed.rank() * share : (distributed.rank() + 1) * share]}

    def facts(self):
        return {}

    def state_dict(self):
        return {"step": self.step}

    def load_state_dict(self, state):
        self.step = state["step"]


if __name__ == "__main__":
    run, begin, parallel = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    dead_below = 0.3 if begin == "kmeans" else 0.0
    config = VQConfig(
        image_size=16, vocab_size=16, code_dim=4, codebook=AveragedCodebook(decay=0.7, dead_below=dead_below),
        autoencoder=AutoencoderConfig(channels=(16,), num_blocks=1),
    )
    with distributed.started() as device:
        torch.manual_seed(0)
        model = build_image_tokenizer(config, distributed.world_size())
        if begin == "given":  # what is drawn at random is drawn otherwise by two than by one
            codes = torch.nn.functional.normalize(torch.randn(1, 16, 4), dim=-1)
            book = model.quantizer._codebook
            book.embed.copy_(codes)
            book.embed_avg.copy_(codes * 16)
            book.cluster_size.fill_(16)
            book.initted.fill_(True)
        loss = TokenizerLossConfig(discriminator=DiscriminatorConfig(weight=0.1, start=2, width=8, num_layers=2))
        train = TrainConfig(steps=6, batch_size=16, lr=1e-3, warmup_steps=1, save_every=3, log_every=1,
                            schedule="constant", parallel=parallel)
        loop.train(ReconstructionTask(model, loss, mean=distributed.mean), Batches(), train, run, device)
        own = {name: x.clone() for name, x in model.quantizer.named_buffers()}
        save_tensors(own, run / f"codebook_{distributed.rank()}.safetensors")
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("script") / "script.py"
    path.write_text(SCRIPT)
    return path


def train(script: Path, run: Path, begin: str, parallel: str, processes: int) -> Path:
    words = command([str(script), str(run), begin, parallel], processes)
    done = subprocess.run(words, env=ENVIRONMENT, timeout=800, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_all_processes_have_the_same_codebook(script, tmp_path, parallel):
    """From the k-means on, with codes that begin anew at nearly every step."""
    run = train(script, tmp_path / "run", "kmeans", parallel, 2)
    first, second = (load_file(run / f"codebook_{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys() and {"_codebook.embed", "_codebook.cluster_size"} <= first.keys()
    for name, x in first.items():
        assert x.equal(second[name]), name
    saved = load_file(run / "step_000006" / "model.safetensors")
    assert saved["quantizer._codebook.embed"].equal(first["_codebook.embed"])


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_learn_the_codebook_of_one(script, tmp_path, parallel):
    runs = [train(script, tmp_path / f"run_{n}", "given", parallel, n) for n in (1, 2)]
    one, two = (load_file(run / "codebook_0.safetensors") for run in runs)
    for name, x in one.items():
        assert (x.float() - two[name].float()).abs().max() < 2e-3, name
    weights = [load_file(run / "step_000006" / "model.safetensors") for run in runs]
    for name, x in weights[0].items():
        assert (x.float() - weights[1][name].float()).abs().max() < 2e-3, name
