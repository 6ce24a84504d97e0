"""From a run's config to a task and its batches: the one place where the rooms are put together to train."""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from calligram import runs
from calligram.clip.model import Clip
from calligram.clip.task import ClipTask
from calligram.clip.zero_shot import ClipPipeline
from calligram.dalle.draw import DallePipeline, build_dalle
from calligram.dalle.task import DalleTask
from calligram.data.bad import BadSample
from calligram.data.dataset import Shards
from calligram.data.loader import Batches
from calligram.data.permute import mix, permute
from calligram.data.tokens import Tokens, write_tokens
from calligram.data.training import TrainingSet, open_sources
from calligram.data.transforms import AugmentConfig
from calligram.errors import Interrupted, UserError
from calligram.eval.task import Models
from calligram.presets.config import ClipRun, DalleRun, TokenizerRun, WatchConfig
from calligram.presets.perceptual import distances
from calligram.presets.warm_start import Origin, find_origin, warm_start
from calligram.presets.watch import build_watch
from calligram.tokenizers.image import build_image_tokenizer
from calligram.tokenizers.run import fingerprint, load_tokenizer, save_tokenizer
from calligram.tokenizers.task import ReconstructionTask
from calligram.tokenizers.text import TextTokenizer
from calligram.tokenizers.text_config import TextTokenizerConfig
from calligram.train import distributed, trackers
from calligram.train.frozen import freeze
from calligram.train.loop import train
from calligram.train.lora import adapt
from calligram.train.precision import make_deterministic
from calligram.train.provenance import record

log = logging.getLogger(__name__)
# fields that may change while a run goes on: they decide how it is computed and kept, not what it becomes
HARMLESS = {
    *(f"data.{name}" for name in ("num_workers", "fetch_ahead", "max_bad", "max_bad_in_a_row")),
    *(f"train.{name}" for name in ("log_every", "save_every", "keep_last", "keep_every", "max_skipped")),
    *(f"watch.{name}" for name in WatchConfig.model_fields),
    *(f"train.{name}" for name in ("parallel", "recompute", "compile", "trackers")),
}
SAMPLES_FOR_BPE = 20_000  # whose captions a small vocabulary is trained on
SHARDS_FOR_BPE = 64  # that they are taken from

Parts = tuple[nn.Module, Batches, Models]  # task, what it reads, and the model as others use it


def start(
    config: TokenizerRun | ClipRun | DalleRun, run: Path, resume: bool = False, allow_changes: bool = False
) -> None:
    """Train a run from its config, or go on with it; with ``allow_changes`` also where its mathematics have changed."""
    if isinstance(config, ClipRun):
        config = config.model_copy(update={"model": config.model.resolved()})
    with distributed.started() as device:
        _check_parts(config)
        trackers.check(config.train.trackers)
        if config.train.deterministic:
            make_deterministic()
        written = (run / runs.CONFIG).read_bytes() if (run / runs.CONFIG).is_file() else None
        if distributed.is_main():
            _claim(config, run, resume, allow_changes)
        distributed.barrier()
        try:
            origin = _origin(config, run)
            task, batches, models = _BUILDERS[type(config)](config, run, device)
            if origin is not None:
                warm_start(task.get_submodule("model"), origin)
            freeze(task.get_submodule("model"), config.train.freeze)
            torch.manual_seed(config.train.seed)
            adapt(task.get_submodule("model"), config.train.lora)
            watch = build_watch(config.watch, models, config.data.shards)
        except BaseException:
            if distributed.is_main():  # say, no such data: the same command should work once it is there
                _leave_as_it_was(run, written)
            raise
        if distributed.is_main():
            record(run, device)
            (run / runs.INTERRUPTED).unlink(missing_ok=True)
        try:
            train(task, batches, config.train, run, device, watch)
        except Interrupted as stop:
            if distributed.is_main():  # torchrun has a status of its own: this is how a script tells it from a failure
                (run / runs.INTERRUPTED).write_text(f"{stop}\n", encoding="utf-8")
            raise


def _origin(config: TokenizerRun | ClipRun | DalleRun, run: Path) -> Origin | None:
    """What the run begins with; none where it has got beyond that."""
    if config.init is None or runs.checkpoints(run):
        return None
    origin = None
    if distributed.is_main():  # first, since it may have to be fetched
        origin = find_origin(config.init, config.type)
        origin.give_words(run)
    distributed.barrier()
    return origin or find_origin(config.init, config.type)


def _leave_as_it_was(run: Path, config: bytes | None) -> None:
    if config is None:
        shutil.rmtree(run, ignore_errors=True)
    else:
        (run / runs.CONFIG).write_bytes(config)


def _check_parts(config: TokenizerRun | ClipRun | DalleRun) -> None:
    train, share = config.train, config.train.batch_size // distributed.world_size()
    if train.lora.rank and config.init is None:
        raise UserError(
            f"--train.lora.rank {train.lora.rank}: small changes of random weights learn nothing; name the run to "
            f"begin with by --init"
        )
    if share % train.accumulate:
        raise UserError(
            f"--train.accumulate {train.accumulate} does not divide the {share} samples of a process: "
            f"give a divisor of them"
        )


def _claim(config: TokenizerRun | ClipRun | DalleRun, run: Path, resume: bool, allow_changes: bool) -> None:
    """Make the run's folder ours: a new one, or with ``resume`` one of the same config."""
    wanted = config.model_dump(mode="json")
    if (run / runs.CONFIG).is_file():
        if not resume:
            raise UserError(f"{run} is a run already: add --resume to go on with it, or choose another --out")
        changed = sorted(_differences(_filled_in(type(config), runs.read_config(run)), wanted))
        refused = [change for change in changed if change.split()[0] not in HARMLESS]
        if refused and not allow_changes:
            raise UserError(
                f"{run} was started with another {refused[0]}: resume it with the config it has, or give "
                f"--allow-changes to go on with the new one"
            )
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(f"{run} exists and is not a run: choose another --out")
    try:
        runs.write_config(run, wanted)
    except OSError as error:
        raise UserError(f"cannot write to {run}: {error.strerror}") from None


def _filled_in(kind: type[BaseModel], written: dict) -> dict:
    """A config as it was written, with the defaults of fields that have come since."""
    try:
        return kind.model_validate(written).model_dump(mode="json")
    except ValidationError:
        return written


def _differences(before: dict, now: dict, prefix: str = "") -> list[str]:
    found = []
    for key in before.keys() | now.keys():
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} ({json.dumps(old)}, now {json.dumps(new)})")
    return found


def _seed_weights(config: TokenizerRun | ClipRun | DalleRun) -> None:
    """Right before they are drawn: what is done before that differs where a run goes on that has no checkpoint yet."""
    torch.manual_seed(config.train.seed)


def _tokenizer(config: TokenizerRun, run: Path, device: torch.device) -> Parts:
    data = TrainingSet(config.data, config.model.image_size)
    _seed_weights(config)
    model = build_image_tokenizer(config.model, distributed.world_size())
    task = ReconstructionTask(model, config.loss, distances(config.loss, device), distributed.mean)
    return task, _batches(config, data, None), Models(tokenizer=model)


def _clip(config: ClipRun, run: Path, device: torch.device) -> Parts:
    if not config.model.preprocess.is_ours:
        log.warning("model.preprocess says how pictures are read after the training, which itself reads them as ours")
    data = TrainingSet(config.data, config.model.image_size, negatives=config.hard_negatives)
    text = _text_tokenizer(config.text_tokenizer, data.sources, config.model.text.context_length, run)
    # what is resumed has weights of its own
    model_config = config.model.without_download() if runs.checkpoints(run) else config.model
    _seed_weights(config)
    model = Clip(model_config, text.vocab_size, text.end_id)
    models = Models(clip=ClipPipeline(model, text))
    return ClipTask(model, config.loss, distributed.Ring()), _batches(config, data, text), models


def _dalle(config: DalleRun, run: Path, device: torch.device) -> Parts:
    if config.data.augment != AugmentConfig():
        raise UserError("data.augment is set, but a DALL-E reads tokens of the pictures as they are: leave it out")
    own = run / runs.IMAGE_TOKENIZER  # the run keeps the tokenizer that it began with, whatever becomes of the other
    if distributed.is_main() and not (own / runs.MODEL).is_file():
        save_tokenizer(load_tokenizer(config.image_tokenizer), own)
    distributed.barrier()
    image_tokenizer = load_tokenizer(own, device)
    size, key = image_tokenizer.config.image_size, fingerprint(image_tokenizer)
    sources = open_sources(config.data)
    words_only = config.loss.tokens == "text"
    for shards in [] if words_only else sources:
        write_tokens(
            shards,
            key,
            size,
            lambda images: image_tokenizer.encode(images.to(device)),
            distributed.rank(),
            distributed.world_size(),
        )
    distributed.barrier()
    tokens = [] if words_only else [Tokens(shards, key) for shards in sources]
    data = TrainingSet(config.data, size, tokens, words_only=words_only)
    text = _text_tokenizer(config.text_tokenizer, sources, config.model.text_length, run)
    _seed_weights(config)
    model = build_dalle(config.model, text, image_tokenizer)
    models = Models(dalle=DallePipeline(model, text, image_tokenizer, config.sampling))
    return DalleTask(model, config.loss, distributed.mean), _batches(config, data, text), models


_BUILDERS = {TokenizerRun: _tokenizer, ClipRun: _clip, DalleRun: _dalle}


def _text_tokenizer(config: TextTokenizerConfig, sources: Sequence[Shards], length: int, run: Path) -> TextTokenizer:
    """The run's own text tokenizer: made once, by the main process, and kept with the run."""
    path = run / runs.TEXT_TOKENIZER
    if distributed.is_main() and not path.is_file():
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not survive the loader's fork
        captions = [caption for shards in sources for caption in _some_captions(shards)]
        manifest = sources[0].manifest
        text = config.build(captions, length, manifest.class_names, manifest.templates)
        _warn_of_cuts(text, captions)
        text.save(path)
    distributed.barrier()
    return TextTokenizer.load(path)


def _some_captions(shards: Shards) -> list[str]:
    """Captions of samples drawn at random: every so-many-th would see one kind only where kinds take turns."""
    filled = np.flatnonzero(shards.counts)
    numbers = filled[permute(np.arange(min(len(filled), SHARDS_FOR_BPE)), len(filled), mix(0))]
    captions = []
    for number in sorted(numbers.tolist()):
        count = int(shards.counts[number])
        rows = permute(np.arange(min(count, SAMPLES_FOR_BPE // len(numbers))), count, mix(1, number))
        for row in sorted(rows.tolist()):
            with contextlib.suppress(BadSample):  # training leaves it out, too
                captions += shards.read_words(number, row)[0]
    return captions


def _warn_of_cuts(text: TextTokenizer, captions: list[str]) -> None:
    lengths = [len(text.encode(caption)) + 2 for caption in captions]  # with start and end
    cut = sum(length > text.context_length for length in lengths) / len(lengths)
    if cut > 0:
        log.warning(
            f"{cut:.1%} of captions have more than the {text.context_length} tokens that the model reads and are cut; "
            f"the longest has {max(lengths)}"
        )


def _batches(config: TokenizerRun | ClipRun | DalleRun, data: TrainingSet, text: TextTokenizer | None) -> Batches:
    train = config.train
    return Batches(
        data,
        train.batch_size,
        train.steps,
        train.seed,
        text,
        distributed.rank(),
        distributed.world_size(),
        distributed.sum_up,
    )
