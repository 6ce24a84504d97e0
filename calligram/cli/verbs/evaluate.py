"""Measure runs on a data set: every task that fits, one table and a results.json."""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict, Field

from calligram.cli.console import say
from calligram.cli.flags import Names, parse


class Evaluate(BaseModel):
    """Evaluate runs on a data set; each task takes the runs it needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = Field(
        description="run to evaluate; give it once for each run, one of each type (clip, tokenizer, dalle)"
    )
    data: Path = Field(default=Path("shards/shapes"), description="folder that `calligram data make` wrote")
    tasks: Names = Field(default=(), description="tasks to run; without it all that fit")
    out: Path | None = Field(default=None, description="where to write results.json")
    split: str = Field(default="test", description="split to evaluate on")
    num_captions: int = Field(default=300, ge=3, description="captions to draw for composition")
    num_candidates: int = Field(default=16, ge=1, description="drawings of each caption, of which CLIP picks one")
    max_samples: int = Field(default=10_000, ge=1, description="pictures of a split at most")
    seed: int = Field(default=0, ge=0, description="of the drawings")
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = Field(
        default=False, description="print the results as JSON"
    )


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
    results = evaluate(load_models(flags.model), flags.data, config, flags.tasks)
    print(as_text(results, flags.json_output))
    if flags.out is not None:
        write_results(results, flags.out)
        say(f"wrote {flags.out}")
