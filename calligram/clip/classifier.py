"""Labels as vectors: the mean of a label's prompts, renormalised (arXiv 2103.00020); each prompt is read once.

# C labels, P prompts, U different prompts, N of them in this process, T tokens, E embedding
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

from calligram.clip.fingerprint import text_fingerprint
from calligram.clip.model import Clip
from calligram.files import save_tensors
from calligram.progress import Progress, hidden
from calligram.tokenizers.text import TextTokenizer

log = logging.getLogger(__name__)
Item = TypeVar("Item")
TOKENS_AT_ONCE = {"cpu": 2**11, "cuda": 2**15}  # of a batch: on a CPU, about what stays in its caches
TEXTS_AT_ONCE = 2**15  # of which the ids are held
KIND = "calligram label vectors 1"


@dataclass(frozen=True)
class Spread:
    """Which share of the prompts this process reads, and how the shares come together; alone by default.

    ``gather`` is given the same number of rows in each process and returns those of all, in the order of their ranks.
    """

    rank: int = 0
    size: int = 1
    gather: Callable[[Tensor], Tensor] = lambda x: x

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """What this process reads: every so-many-th, and as many as every other process, which takes a repetition."""
        repeated = [items[0]] * (-len(items) % self.size) if items else []
        return [*items, *repeated][self.rank :: self.size]

    def in_order(self, rows: Tensor, number: int) -> Tensor:
        """The rows of all processes' shares, as the ``number`` items were."""
        return self.gather(rows).unflatten(0, (self.size, -1)).transpose(0, 1).flatten(0, 1)[:number]


ALONE = Spread()


def label_vectors(
    model: Clip,
    tokenizer: TextTokenizer,
    prompts: Sequence[Sequence[str]],
    cache: Path | None = None,
    spread: Spread = ALONE,
) -> Tensor:
    """Unit vectors (C, E) from the prompts of each label, whose numbers may differ; none may be empty.

    ``cache`` is a folder where they are kept. With a ``spread`` all processes must call this at the same time.
    Raises UserError for a prompt that is longer than the model reads.
    """
    path = cache_path(model, tokenizer, prompts, cache) if cache is not None else None
    shape = (len(prompts), model.config.embed_dim)
    found = _load(path, shape) if path is not None else None
    if path is not None and _everywhere(found is not None, model, spread) and found is not None:
        return found.to(model.logit_scale.device)
    texts = list(dict.fromkeys(chain.from_iterable(prompts)))
    vector_UE = embed_spread(model, tokenizer, texts, spread)
    label_CE = _mean(vector_UE, texts, prompts)
    if path is not None and spread.rank == 0:
        _save(label_CE, path)
    return label_CE


@torch.inference_mode()
def embed_spread(model: Clip, tokenizer: TextTokenizer, texts: Sequence[str], spread: Spread = ALONE) -> Tensor:
    """Unit vectors (U, E) of texts in their order, every process reading a share of them that is as long as others'."""
    if spread.size > 1:  # one that is too long must be told in all processes, not only in that which would read it
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            tokenizer(list(texts[start : start + TEXTS_AT_ONCE]), strict=True)
    # the longest of all are dealt out in turn, so that no process gets more work than another
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with hidden() if spread.rank else nullcontext():
        vector_NE = embed_by_length(model, tokenizer, [texts[i] for i in spread.share(by_length)])
    gathered = spread.in_order(vector_NE, len(texts))
    vector_UE = torch.empty(len(texts), gathered.shape[1], device=gathered.device)
    vector_UE[torch.tensor(by_length, dtype=torch.long, device=gathered.device)] = gathered
    return vector_UE


@torch.inference_mode()
def embed_by_length(
    model: Clip, tokenizer: TextTokenizer, texts: Sequence[str], strict: bool = True, tokens_at_once: int | None = None
) -> Tensor:
    """Unit vectors (P, E). Texts of one length go together, since the tower reads as far as the longest of a batch."""
    device = model.logit_scale.device
    budget = tokens_at_once or TOKENS_AT_ONCE.get(device.type, TOKENS_AT_ONCE["cuda"])
    vector_PE = torch.empty(len(texts), model.config.embed_dim, device=device)
    with Progress("embed texts", len(texts)) as progress:
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            ids_PT = tokenizer(list(texts[start : start + TEXTS_AT_ONCE]), strict=strict)
            for rows in batches_by_length(text_lengths(ids_PT, tokenizer.end_id), budget):
                vector_PE[start + rows.to(device)] = model.encode_text(ids_PT[rows].to(device))
                progress.advance(len(rows))
    return vector_PE


def batches_by_length(length_P: Tensor, tokens_at_once: int) -> Iterator[Tensor]:
    """Numbers of texts, the shortest first, so many together that their tokens with padding fit the budget."""
    order = length_P.argsort(stable=True)
    sorted_lengths = length_P[order].tolist()
    start = 0
    for stop in range(1, len(order) + 1):
        is_last = stop == len(order)
        # sorted, so the next text is the longest of a batch that would have it, too
        if is_last or (stop + 1 - start) * sorted_lengths[stop] > tokens_at_once:
            yield order[start:stop]
            start = stop


def text_lengths(ids_PT: Tensor, end_id: int) -> Tensor:
    """Tokens of each text with its end; all of them where there is no end."""
    is_end = ids_PT == end_id
    return torch.where(is_end.any(1), is_end.int().argmax(1) + 1, ids_PT.shape[1])


def cache_path(model: Clip, tokenizer: TextTokenizer, prompts: Sequence[Sequence[str]], cache: Path) -> Path:
    """Where the vectors of these prompts by this text tower are kept."""
    facts = f"{KIND}\n{text_fingerprint(model, tokenizer)}\n{json.dumps([list(each) for each in prompts])}"
    return cache / f"labels-{hashlib.sha256(facts.encode()).hexdigest()[:32]}.safetensors"


def _mean(vector_UE: Tensor, texts: Sequence[str], prompts: Sequence[Sequence[str]]) -> Tensor:
    row_of = {text: row for row, text in enumerate(texts)}
    rows = torch.tensor([row_of[text] for each in prompts for text in each], device=vector_UE.device)
    label = torch.repeat_interleave(torch.tensor([len(each) for each in prompts])).to(vector_UE.device)
    # the length of a sum doesn't matter: it is renormalised
    total = torch.zeros(len(prompts), vector_UE.shape[1], device=vector_UE.device)
    return F.normalize(total.index_add_(0, label, vector_UE[rows]), dim=-1)


def _everywhere(found: bool, model: Clip, spread: Spread) -> bool:
    """Whether all processes found it: those that did would not come to the gathering of the others."""
    return bool(spread.gather(torch.tensor([found], device=model.logit_scale.device).int()).all())


def _load(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """What was kept; None where there is nothing, or, with a warning, something else."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            label_CE = file.get_tensor("labels")
            if (file.metadata() or {}).get("kind") == KIND and tuple(label_CE.shape) == shape:
                return label_CE
    except (SafetensorError, OSError):
        pass
    log.warning(f"{path} is damaged or another program's: made anew")
    return None


def _save(label_CE: Tensor, path: Path) -> None:
    """Aside and renamed. A folder that cannot be written to costs time at the next start, and nothing else."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors({"labels": label_CE.cpu().contiguous()}, aside, {"kind": KIND})
        aside.replace(path)
    except (OSError, SafetensorError) as error:
        log.warning(f"the label vectors cannot be kept in {path.parent} ({error})")
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
