"""The manifest of a data set: which shards it has, what they hold, how to check them."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from calligram.data import remote
from calligram.data.place import join
from calligram.errors import UserError

FILE_NAME = "manifest.json"


class Shard(BaseModel):
    """One tar file: by its path relative to the manifest, by a path of its own, or by a URL."""

    model_config = ConfigDict(frozen=True)

    file: str
    num_samples: int
    num_bytes: int
    sha256: str
    left_out: dict[str, int] = Field(default_factory=dict)  # why samples of the tar are not used → how many


class Manifest(BaseModel):
    """What ``manifest.json`` at the root of a data set says."""

    model_config = ConfigDict(frozen=True)

    version: int = 1
    name: str
    licence: str
    source: dict[str, Any] = Field(default_factory=dict)
    class_names: list[str] = Field(default_factory=list)
    templates: list[str] = Field(default_factory=lambda: ["{}"])
    txt: Literal["caption", "a caption a line"] = "caption"  # what a .txt member holds
    splits: dict[str, list[Shard]]

    def num_samples(self, split: str) -> int:
        return sum(shard.num_samples for shard in self.shards(split))

    def shards(self, split: str) -> list[Shard]:
        if split not in self.splits:
            raise UserError(f"split {split!r} is not in this data set; it has: {', '.join(self.splits)}")
        return self.splits[split]

    def digest(self, split: str) -> str:
        """Short for all that the order and the content of a split depend on, other than where it lies."""
        facts = "".join(f"{shard.num_samples} {shard.sha256}\n" for shard in self.shards(split))
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    def save(self, folder: Path) -> None:
        text = json.dumps(self.model_dump(), indent=1, ensure_ascii=False) + "\n"
        (folder / FILE_NAME).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str) -> "Manifest":
        path = join(folder, FILE_NAME)
        if isinstance(path, Path) and not path.is_file():
            raise UserError(_no_manifest(Path(folder)))
        try:
            return cls.model_validate_json(path.read_bytes() if isinstance(path, Path) else remote.read(path))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "all of it"
            raise UserError(
                f"{path} is not a calligram manifest ({place}: {first['msg'].lower()}): delete it, and write it anew "
                f"with `calligram data index`"
            ) from None


def _no_manifest(folder: Path) -> str:
    if not folder.exists():
        return f"{folder} does not exist: give the folder of a data set, or make one with `calligram data make`"
    if not folder.is_dir():
        return f"{folder} is a file: give the folder of a data set"
    if next(folder.rglob("*.tar"), None) is not None:
        return f"no {FILE_NAME} in {folder}: write one for the shards in it with `calligram data index {folder}`"
    return f"no {FILE_NAME} in {folder}: make a data set with `calligram data make NAME --out {folder}`"
