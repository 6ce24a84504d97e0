"""The nearest of many unit vectors: by looking at all of them, or through usearch's graph.

# N vectors, E embedding, K wanted
"""

from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from calligram.cli.console import say
from calligram.cli.index import AnyVectors
from calligram.errors import UserError

Method = Literal["auto", "exact", "usearch"]
LARGE = 2_000_000  # vectors; looking at all of so many takes a second or two, making a graph half an hour or more
ROWS_AT_ONCE = 2**16
EXTRA = "pip install 'calligram[search]'"
Hits = list[tuple[int, float]]  # row and cosine, the nearest first


class Rows(Protocol):
    """Vectors (N, E), an array or what is read like one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


def nearest(vectors: AnyVectors, query_E: np.ndarray, top_k: int, method: Method = "auto") -> Hits:
    """The ``top_k`` rows whose cosine with the query is largest; with usearch nearly always those."""
    if method == "exact" or (method == "auto" and vectors.index.count < LARGE):
        return nearest_exact(vectors.rows_NE, query_E, top_k)
    usearch = _usearch()
    if usearch is None:
        if method == "usearch":
            raise UserError(f"--method usearch needs a library that is missing: {EXTRA}, or take --method exact")
        say(f"looking at all {vectors.index.count:,} vectors; {EXTRA} makes that quick")
        return nearest_exact(vectors.rows_NE, query_E, top_k)
    graph = _open_graph(usearch, vectors) or _build_graph(usearch, vectors)
    found = graph.search(query_E.astype(np.float32), min(top_k, vectors.index.count))
    rows = [int(row) for row in found.keys]
    # cosines anew: the graph keeps its vectors in half precision
    similarities = np.asarray(vectors.rows_NE[rows], np.float32) @ query_E
    return sorted(zip(rows, similarities.tolist(), strict=True), key=lambda hit: (-hit[1], hit[0]))


def nearest_exact(rows_NE: "Rows", query_E: np.ndarray, top_k: int) -> Hits:
    """By all cosines, some rows at a time: an index may be larger than the memory."""
    query_E = query_E.astype(np.float32)
    best_rows, best = np.empty(0, np.int64), np.empty(0, np.float32)
    for start in range(0, len(rows_NE), ROWS_AT_ONCE):
        cosines = np.asarray(rows_NE[start : start + ROWS_AT_ONCE], np.float32) @ query_E
        rows = np.concatenate([best_rows, np.arange(start, start + len(cosines))])
        values = np.concatenate([best, cosines])
        # stable, so that of equal ones the first stays first
        kept = np.argsort(-values, kind="stable")[:top_k] if len(values) <= 4 * top_k else _largest(values, top_k)
        best_rows, best = rows[kept], values[kept]
    return list(zip(best_rows.tolist(), best.tolist(), strict=True))


def _largest(values: np.ndarray, top_k: int) -> np.ndarray:
    threshold = np.partition(values, len(values) - top_k)[len(values) - top_k]
    candidates = np.flatnonzero(values >= threshold)
    return candidates[np.argsort(-values[candidates], kind="stable")][:top_k]


def _usearch() -> Any:
    try:
        import usearch.index as usearch  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return usearch


def _open_graph(usearch: Any, vectors: AnyVectors) -> Any:
    """The graph that lies in the folder; None where there is none, or one of other vectors."""
    path = vectors.graph_path
    if not path.is_file():
        return None
    try:
        graph = usearch.Index.restore(str(path), view=True)
    except Exception as error:  # its own C++ errors
        say(f"{path} is damaged ({error}): made anew")
        return None
    is_ours = graph is not None and (len(graph), graph.ndim) == (vectors.index.count, vectors.index.dims)
    return graph if is_ours else None


def _build_graph(usearch: Any, vectors: AnyVectors) -> Any:
    """Made at the first search, a thousand vectors a second on one core, and kept beside the vectors."""
    from calligram.progress import Progress

    # inner product: the vectors have length 1
    graph = usearch.Index(ndim=vectors.index.dims, metric="ip", dtype="f16")
    with Progress("make graph", vectors.index.count) as progress:
        for start in range(0, vectors.index.count, ROWS_AT_ONCE // 8):
            rows = np.asarray(vectors.rows_NE[start : start + ROWS_AT_ONCE // 8], np.float32)
            graph.add(np.arange(start, start + len(rows), dtype=np.uint64), rows)
            progress.advance(len(rows))
    _keep(graph, vectors.graph_path)
    return graph


def _keep(graph: Any, path: Path) -> None:
    aside = path.with_name(f".{path.name}.part")
    try:
        graph.save(str(aside))
        aside.replace(path)
    except Exception as error:  # an index on a read-only disk can be searched all the same
        say(f"the graph cannot be kept in {path.parent} ({error})")
