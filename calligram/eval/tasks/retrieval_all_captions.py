"""Retrieval both ways with all captions of a picture, as on COCO and Flickr30k (arXiv 2103.00020, table 13).

# B pictures, T captions, P right pairs
"""

from collections.abc import Iterator
from pathlib import Path

from calligram.eval.features import embed_rows, read_all_words
from calligram.eval.retrieval import both_ways, pairs_of
from calligram.eval.task import EvalConfig, EvalTask, Models, Value


class RetrievalAllCaptions(EvalTask):
    """Recall@k, median and mean reciprocal rank: a picture has found one if any caption of its own is among k.

    Where all captions differ the recalls are CLIP_benchmark's. A caption that several pictures have stands among the
    captions once, and any of these pictures is right.
    """

    name = "retrieval-all-captions"
    needs = ("clip",)

    def run(self, models: Models, data: Path | str, config: EvalConfig) -> Iterator[tuple[str, Value]]:
        clip = models.clip
        assert clip is not None
        words = read_all_words(clip, data, config.split, config.max_samples)
        rows = [row for row, (captions, _) in enumerate(words) if captions]
        texts, pair_P2 = pairs_of([words[row][0] for row in rows])
        if len(texts) < 2:
            return
        image_BE = embed_rows(clip, data, config.split, rows).image_BE
        text_TE = clip.embed_texts(texts, strict=False)
        for name, value in both_ways(image_BE, text_TE, pair_P2):
            yield f"clip.retrieval_all_captions.{name}", value
        yield "clip.retrieval_all_captions.num_captions", len(texts)
        yield "clip.retrieval_all_captions.num_samples", len(rows)
