"""The model that a CLIP run learns from, found by its config."""

import logging
from pathlib import Path

import torch

from calligram import runs
from calligram.clip.fingerprint import model_fingerprint
from calligram.clip.load import load_model
from calligram.clip.losses.config import DistillConfig
from calligram.clip.model import Clip
from calligram.clip.teacher import Teacher
from calligram.clip.weights.source import ActivationUnknown
from calligram.errors import UserError
from calligram.tokenizers.text import TextTokenizer
from calligram.train import distributed

log = logging.getLogger(__name__)
FINGERPRINT = "teacher"  # a file of the run: which model it began to learn from


def load_teacher(config: DistillConfig, students: TextTokenizer, run: Path, device: torch.device) -> Teacher | None:
    """The teacher in each process; ``students`` is the tokenizer of the model that learns.

    Raises UserError where it is not there, or is no CLIP.
    """
    if config.teacher is None:
        return None
    loaded = _load(config, run) if distributed.is_main() else None  # first, since it may have to be fetched
    if loaded is not None:
        _recognise(*loaded, config.teacher, run)
    distributed.barrier()
    model, tokenizer = loaded or _load(config, run)
    return Teacher(model.to(device), tokenizer, students, config.weight)


def _load(config: DistillConfig, run: Path) -> tuple[Clip, TextTokenizer]:
    flag = f"--distill.teacher {config.teacher}"
    try:
        return load_model(config.teacher or "", activation=config.activation)
    except ActivationUnknown:
        raise UserError(
            f"{flag} does not say which activation it was trained with: give --distill.activation quick_gelu for "
            f"OpenAI's weights, gelu for most others"
        ) from None
    except UserError as error:
        remedy = "put it back, or name its new place along with --allow-changes"
        going_on = f"; {run} goes on with the teacher that it began with: {remedy}" if runs.checkpoints(run) else ""
        raise UserError(f"{flag}: {error}{going_on}") from None


def _recognise(model: Clip, tokenizer: TextTokenizer, teacher: Path, run: Path) -> None:
    """Tell where a run goes on with another model, which the same folder may have had meanwhile."""
    path, found = run / FINGERPRINT, model_fingerprint(model, tokenizer)
    if path.is_file() and runs.checkpoints(run) and path.read_text(encoding="utf-8").strip() != found:
        log.warning(f"--distill.teacher {teacher} is not the model any more that {run} began to learn from")
    path.write_text(f"{found}\n", encoding="utf-8")
