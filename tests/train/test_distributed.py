"""Two processes on one machine against one process with the whole batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from calligram import runs
from calligram.clip.task import ClipTask
from calligram.train import distributed
from tests.train.processes import ENVIRONMENT, command
from tests.train.test_distill import taught_run
from tests.train.test_resume import clip_run, dalle_run, tokenizer_run

ROOT = Path(__file__).parents[2]


class TwoTables(nn.Module):
    """A CLIP as small as can be: pictures are vectors, texts have one id."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.image = nn.Parameter(torch.randn(6, 5, generator=generator))
        self.text = nn.Parameter(torch.randn(10, 5, generator=generator))
        self.logit_scale = nn.Parameter(torch.tensor(1.5))

    def encode_image(self, images):
        return nn.functional.normalize(images @ self.image, dim=-1)

    def encode_text(self, ids):
        return nn.functional.normalize(self.text[ids[:, 0]], dim=-1)

    def scale(self):
        return self.logit_scale.exp()


def global_batch() -> dict[str, torch.Tensor]:
    images = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    text = torch.tensor([[0], [1], [2], [0], [3], [0], [4], [1]])
    return {"image": images, "text": text, "negative_text": (text + 1) % 5}


def one_process():
    model = TwoTables()
    loss, metrics = ClipTask(model)(global_batch())
    loss.backward()
    return float(loss.detach()), float(metrics["batch_accuracy"]), [p.grad for p in model.parameters()]


def each_process(rank: int, world_size: int, folder: str) -> None:
    """What one of several processes finds, written to a file of its own."""
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world_size)
    model = TwoTables()
    task = distributed.wrap(ClipTask(model, ring=distributed.Ring()))
    share = 8 // world_size
    loss, metrics = task({name: x[rank * share : (rank + 1) * share] for name, x in global_batch().items()})
    loss.backward()
    found = {
        "loss": float(distributed.mean(loss.detach())),
        "accuracy": float(distributed.mean(metrics["batch_accuracy"])),
        "gradients": [p.grad.tolist() for p in model.parameters()],
        "is_main": distributed.is_main(),
        "arrived": distributed.Ring().pass_on((torch.tensor([rank]),))()[0].tolist(),
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(found))
    distributed.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.timeout(1100)  # processes that import torch anew, perhaps beside a training
def test_two_processes_have_the_loss_and_gradient_of_the_whole_batch(tmp_path):
    command = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_distributed as t; "
    children = [
        subprocess.Popen([sys.executable, "-c", f"{command}t.each_process({rank}, 2, {str(tmp_path)!r})"], cwd=ROOT)
        for rank in (0, 1)
    ]
    assert [child.wait(timeout=500) for child in children] == [0, 0]
    loss, accuracy, gradients = one_process()
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["loss"] == pytest.approx(loss, abs=1e-6)
        assert found["accuracy"] == pytest.approx(accuracy)
        assert found["is_main"] == (rank == 0)
        assert found["arrived"] == [1 - rank]
        for ours, theirs in zip(gradients, found["gradients"], strict=True):
            torch.testing.assert_close(torch.tensor(theirs), ours, atol=1e-6, rtol=1e-5)


def test_alone_everything_is_as_if_there_were_no_others():
    x = torch.randn(3, 2, requires_grad=True)
    task = nn.Linear(2, 2)
    assert distributed.Ring().pass_on((x,))() == (x,) and distributed.mean(x) is x and distributed.wrap(task) is task
    assert distributed.is_main() and (distributed.rank(), distributed.world_size()) == (0, 1)


def test_each_step_seed_and_rank_has_noise_of_its_own(monkeypatch):
    draws = []
    for seed, step, rank in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0)]:
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        distributed.seed_step(seed, step)
        draws.append(tuple(torch.rand(4).tolist()))
    assert len(set(draws)) == 4 and draws[0] == draws[-1]


WAYS = ("ddp", "fsdp")
SCRIPT = """
import sys
from pathlib import Path

import torch
from pydantic import TypeAdapter

from calligram.presets import build, config

torch.set_num_threads(1)
if __name__ == "__main__":
    run = TypeAdapter(config.Run).validate_json(Path(sys.argv[1]).read_text())
    build.start(run, Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.timeout(1100)  # processes that import torch anew, perhaps beside a training
@pytest.mark.parametrize(
    ("build_run", "parallel", "parts"),
    [
        *((build_run, parallel, 1) for build_run in (tokenizer_run, clip_run, dalle_run) for parallel in WAYS),
        *((clip_run, parallel, 2) for parallel in WAYS),
        *((taught_run, parallel, parts) for parallel in WAYS for parts in (1, 2)),
    ],
)
def test_torchrun_trains_as_one_process_does(drawings, tmp_path, build_run, parallel, parts):
    """Each task of ours, without what differs by design: dropout and dropped captions are each process's own.

    A CLIP's batch also in two parts in each of two processes, against all of it at once in one.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = json.loads(build_run(drawings, tmp_path).model_dump_json())
    run["train"] |= {"steps": 6, "batch_size": 8, "log_every": 2, "save_every": 3, "parallel": parallel}
    run["data"]["captions"] = "first"
    run["watch"] |= {"every": 3, "split": "train", "max_samples": 20, "num_pictures": 2}
    for tower in (run["model"], run["model"].get("image"), run["model"].get("text")):
        if tower and "transformer" in tower:
            tower["transformer"]["dropout"] = 0.0
    if run["type"] == "clip":
        run["model"]["image"]["stem"] = []  # a BatchNorm has statistics of its process
    if run["type"] == "dalle":
        run["loss"]["drop_caption"] = 0.0
    config = tmp_path / "config.json"
    for processes, name in ((1, "one"), (2, "two")):
        run["train"]["accumulate"] = parts if processes > 1 else 1
        config.write_text(json.dumps(run))
        arguments = [str(script), str(config), str(tmp_path / name)]
        subprocess.run(command(arguments, processes), env=ENVIRONMENT, check=True, timeout=500, cwd=tmp_path)
    one, two = (runs.read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [row["step"] for row in one] == [row["step"] for row in two] == [2, 3, 4, 6]  # 3: a checkpoint
    times, worst = {"step", "samples_per_s", "data_wait", "batch_usage", "psnr_db", "epoch"}, 0.0
    for ours, theirs in zip(one, two, strict=True):
        for name in ours.keys() - times:
            assert theirs[name] == pytest.approx(ours[name], rel=1e-5, abs=1e-6), name
            worst = max(worst, abs(theirs[name] - ours[name]) / max(1e-6, abs(ours[name])))
    print(f"{run['type']} {parallel}, {parts} parts: {worst:.1e}")
    assert one[0]["loss"] != one[-1]["loss"]
