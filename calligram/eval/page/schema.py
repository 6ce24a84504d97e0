"""The content of an evaluation's ``results.json``: what was measured, on what, with what."""

from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from calligram.errors import UserError

VERSION = 1


class Part(BaseModel):
    """Something with a frozen content; fields that this version does not know are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Row(Part):
    """One figure. ``low`` and ``high`` bound its interval, ``count`` is the number of samples: where it has these."""

    model: str
    data: str
    task: str
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None
    count: int | None = None


class Cell(Part):
    """One task of one model on one data set. Paths of ``pictures`` are relative to the folder of the results."""

    model: str
    data: str
    task: str
    status: Literal["done", "failed", "skipped"]
    seconds: float | None = None
    reason: str | None = None
    pictures: dict[str, str] = {}


class ModelPart(Part):
    place: str
    digest: str | None = None
    parameters: int | None = None


class Model(Part):
    name: str
    parts: dict[str, ModelPart] = {}


class DataSet(Part):
    name: str
    place: str = ""
    digest: str | None = None
    splits: dict[str, int] = {}
    licence: str | None = None


class Results(Part):
    """All of it. ``command`` is shown where it stands there; ``started`` is in ISO 8601."""

    version: int
    rows: list[Row] = []
    cells: list[Cell] = []
    models: list[Model] = []
    data: list[DataSet] = []
    config: dict[str, Any] = {}
    versions: dict[str, str | None] = {}
    machine: str | None = None
    started: str | None = None
    seconds: float | None = None
    command: str | None = None

    @classmethod
    def read(cls, results: dict) -> Self:
        """Raises UserError for what is no such content, naming the first place that is wrong."""
        version = results.get("version")
        if version != VERSION:
            raise UserError(f"results of version {version!r}: this calligram reads version {VERSION}, evaluate again")
        try:
            return cls.model_validate(results)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"the results are damaged at {where}: {first['msg']}; evaluate again") from None

    @property
    def model_names(self) -> list[str]:
        """In the order of the evaluation."""
        return _unique([*(model.name for model in self.models), *(each.model for each in [*self.cells, *self.rows])])

    @property
    def data_names(self) -> list[str]:
        return _unique([*(data.name for data in self.data), *(each.data for each in [*self.cells, *self.rows])])

    @property
    def task_names(self) -> list[str]:
        return _unique(each.task for each in [*self.cells, *self.rows])


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
