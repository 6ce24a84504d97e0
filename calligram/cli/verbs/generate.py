"""Draws pictures of a sentence with a DALL-E; a CLIP may choose the best."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from pydantic import BaseModel, Field

import calligram
from calligram.cli.console import say
from calligram.cli.fields import AsJson, Device, OptionalRun
from calligram.cli.find import PICTURE_SUFFIXES, check_output, find_device, find_run
from calligram.cli.flags import parse
from calligram.errors import UserError
from calligram.progress import Progress

if TYPE_CHECKING:
    from PIL import Image

    from calligram.dalle.draw import DallePipeline
    from calligram.dalle.sampling import SamplingConfig


PICTURES_AT_ONCE = 16
THE_RUNS_OWN = "(default: the run's own)"


class Flags(BaseModel):
    """Draws pictures of a sentence and writes the best; without --rerank the first.

    A PNG keeps the prompt, seed and settings. The same seed draws the same picture.
    """

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")] = Field(description="what to draw")
    out: Path = Field(description="picture to write, .png or .jpg")
    model: OptionalRun = Field(None, description="DALL-E run")
    rerank: Annotated[Path | None, tyro.conf.arg(metavar="RUN", help_behavior_hint="(default: none)")] = Field(
        None, description="CLIP run that puts the best picture first"
    )
    num_images: Annotated[int, tyro.conf.arg(aliases=["-n"])] = Field(16, ge=1, description="pictures to draw")
    seed: int = Field(0, ge=0, description="of the first picture; the next have seed + 1, seed + 2 ...")
    guidance: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=THE_RUNS_OWN)] = Field(
        None, ge=0, description="classifier-free guidance scale; 1 is none, more keeps closer to the prompt"
    )
    temperature: Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint=THE_RUNS_OWN)] = Field(
        None, gt=0, description="below 1: safer, above 1: wilder"
    )
    top_k: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint=THE_RUNS_OWN)] = Field(
        None, ge=1, description="draw from the k likeliest tokens only"
    )
    grid: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="(default: none)")] = Field(
        None, description="also write all pictures as one, .png or .jpg"
    )
    scale: int = Field(4, ge=1, le=64, description="pixels a side that each drawn pixel becomes; 1: as drawn")
    device: Device = "auto"
    as_json: AsJson = False


@dataclass(frozen=True)
class Candidate:
    """A picture that was drawn."""

    image: "Image.Image"
    seed: int
    score: float | None = None  # CLIP's cosine similarity, where a CLIP was asked


def main(args: list[str]) -> None:
    flags = parse(Flags, args, prog="calligram generate")
    if not flags.prompt.strip():
        raise UserError("the prompt is empty: say what to draw")
    check_output(flags.out, "--out", PICTURE_SUFFIXES)
    if flags.grid is not None:
        check_output(flags.grid, "--grid", PICTURE_SUFFIXES)
    from calligram.clip.zero_shot import load_clip
    from calligram.dalle.draw import load_dalle
    from calligram.dalle.sampling import SamplingConfig

    device = find_device(flags.device)
    run = find_run(flags.model, "dalle")
    dalle = load_dalle(run, device)
    clip = load_clip(flags.rerank, device) if flags.rerank is not None else None
    given = {name: getattr(flags, name) for name in SamplingConfig.model_fields if getattr(flags, name) is not None}
    sampling = SamplingConfig(**{**dalle.sampling.model_dump(), **given})
    candidates = draw(dalle, flags, sampling)
    if clip is not None:
        candidates = ranked(clip, flags.prompt, candidates)
    settings = {"prompt": flags.prompt, "model": str(run), "rerank": flags.rerank and str(flags.rerank)}
    write(flags, candidates, settings | {"sampling": sampling.model_dump()})


def draw(dalle: "DallePipeline", flags: Flags, sampling: "SamplingConfig") -> list[Candidate]:
    candidates: list[Candidate] = []
    with Progress("draw", flags.num_images) as progress:
        for start in range(0, flags.num_images, PICTURES_AT_ONCE):
            count = min(PICTURES_AT_ONCE, flags.num_images - start)
            images = dalle.generate(flags.prompt, count, flags.seed + start, sampling)
            candidates += [Candidate(image, flags.seed + start + i) for i, image in enumerate(images)]
            progress.advance(count)
    return candidates


def ranked(clip: Any, prompt: str, candidates: list[Candidate]) -> list[Candidate]:
    """With scores, the best first."""
    from calligram.eval.rerank import rerank

    order, scores = rerank(clip, prompt, [candidate.image for candidate in candidates])
    return [Candidate(candidates[i].image, candidates[i].seed, float(scores[i])) for i in order]


def write(flags: Flags, candidates: list[Candidate], settings: dict[str, Any]) -> None:
    from calligram.eval.sheet import contact_sheet, enlarge

    best = candidates[0]
    save(enlarge(best.image, flags.scale), flags.out, settings | {"seed": best.seed, "score": best.score})
    if flags.grid is not None:
        columns = math.ceil(math.sqrt(len(candidates)))
        sheet = contact_sheet(
            [c.image for c in candidates], [caption(c) for c in candidates], columns, flags.scale, flags.prompt
        )
        save(sheet, flags.grid, settings | {"seeds": [candidate.seed for candidate in candidates]})
    if flags.as_json:
        rows = [{"seed": candidate.seed, "score": candidate.score} for candidate in candidates]
        paths = {"picture": str(flags.out), "grid": flags.grid and str(flags.grid)}
        print(json.dumps({**paths, **settings, "candidates": rows}, indent=1, ensure_ascii=False))
        return
    say(f"{'best' if best.score is not None else 'first'} of {len(candidates)}: {caption(best)}")
    for path in filter(None, [flags.out, flags.grid]):
        print(path)


def caption(candidate: Candidate) -> str:
    score = "" if candidate.score is None else f"{candidate.score:.3f}, "
    return f"{score}seed {candidate.seed}"


def save(image: "Image.Image", path: Path, settings: dict[str, Any]) -> None:
    """PNG with the settings as text chunks, which JPEG has not."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", f"calligram {calligram.__version__}")
    for name, value in settings.items():
        if value is not None:
            info.add_text(name, value if isinstance(value, str) else json.dumps(value))
    options: dict[str, Any] = {"pnginfo": info} if path.suffix.lower() == ".png" else {"quality": 95}
    try:
        image.save(path, **options)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror or error}): choose another place") from None
