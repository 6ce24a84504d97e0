"""An index of vectors in either form: a folder, or one Parquet file."""

from pathlib import Path

from calligram.cli.parquet import ParquetVectors, ParquetWriter, check_parquet, is_parquet
from calligram.cli.vectors import Dtype, Kind, Vectors, VectorWriter, check_folder

AnyVectors = Vectors | ParquetVectors
AnyWriter = VectorWriter | ParquetWriter


def check_index(out: Path) -> None:
    """Before any work is spent on it. Raises UserError where it cannot be written."""
    if is_parquet(out):
        check_parquet(out)
    else:
        check_folder(out)


def open_writer(out: Path, dims: int, dtype: Dtype, kind: Kind) -> AnyWriter:
    return ParquetWriter(out, dims, dtype, kind) if is_parquet(out) else VectorWriter(out, dims, dtype)


def open_vectors(place: Path) -> AnyVectors:
    return ParquetVectors.open(place) if is_parquet(place) and not place.is_dir() else Vectors.open(place)
