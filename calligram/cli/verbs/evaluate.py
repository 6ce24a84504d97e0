"""Measures runs on a data set: every task that fits, one table."""

import pkgutil
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict, Field

from calligram.cli.console import say
from calligram.cli.fields import AsJson, Device
from calligram.cli.find import find_device
from calligram.cli.flags import Names, parse
from calligram.cli.processes import joined
from calligram.data.place import Place
from calligram.data.resolve import resolve
from calligram.eval import tasks

# by the names of their files: what is in them takes torch, and with it seconds, to be read
TASKS = sorted(name.replace("_", "-") for _, name, _ in pkgutil.iter_modules(tasks.__path__))


class Evaluate(BaseModel):
    """Evaluate runs on a data set; each task takes the runs it needs.

    Under torchrun zero-shot's prompts and pictures are shared among the processes; each does the rest by itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = Field(
        description="run to evaluate; give it once for each run, one of each type (clip, tokenizer, dalle)"
    )
    data: Place = Field(
        default=Path("shards/shapes"),
        description="folder that `calligram data make` wrote, or its URL; CLIP_benchmark's, or a folder of pictures; "
        "torchvision:NAME, hf:OWNER/NAME",
    )
    tasks: Annotated[Names, tyro.conf.arg(help_behavior_hint="(default: all that fit)")] = Field(
        default=(), description=f"evaluation tasks to run: {', '.join(TASKS)}"
    )
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="(default: none)")] = Field(
        default=None, description="also write the results to this JSON file"
    )
    split: str = Field(default="test", description="split to evaluate on")
    num_captions: int = Field(
        default=300, ge=3, description="captions to draw for composition, pictures to complete or to ask DALL-E about"
    )
    num_candidates: int = Field(default=16, ge=1, description="drawings of each caption, of which CLIP picks one")
    max_samples: int = Field(default=10_000, ge=1, description="pictures of a split at most")
    seed: int = Field(default=0, ge=0, description="of the drawings")
    device: Device = "auto"
    as_json: AsJson = False


def main(args: list[str]) -> None:
    flags = parse(Evaluate, args, prog="calligram evaluate")
    from calligram.eval.runner import check_tasks, evaluate, load_models, write_results
    from calligram.eval.table import as_text
    from calligram.eval.task import EvalConfig

    check_tasks(flags.tasks)
    config = EvalConfig(
        split=flags.split,
        num_captions=flags.num_captions,
        num_candidates=flags.num_candidates,
        max_samples=flags.max_samples,
        seed=flags.seed,
    )
    with joined() as processes:
        with processes.main_first():
            data = resolve(flags.data)
            models = load_models(flags.model, find_device(flags.device))
        if models.clip is not None:
            models.clip.spread = processes.spread()
        results = evaluate(models, data, config, flags.tasks)
    if not processes.is_main:
        return
    print(as_text(results, flags.as_json))
    if flags.out is not None:
        write_results(results, flags.out)
        say(f"wrote {flags.out}")
