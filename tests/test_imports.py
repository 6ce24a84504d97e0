"""The rooms of the package and the arrows between them: an import that the table does not have fails here."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# room → the rooms that it may import; everyone may import the root modules in FOR_ALL
CORE = {"nn", "data", "train", "tokenizers", "clip", "dalle", "eval"}
MAY_IMPORT = {
    "nn": set(),
    "data": set(),
    "train": set(),
    "tokenizers": {"nn"},
    "clip": {"nn", "tokenizers"},
    "dalle": {"nn", "tokenizers"},
    "eval": {"nn", "data", "tokenizers", "clip", "dalle"},
    # the outer rooms, which nobody imports but each other; API is calligram/__init__.py, what users import
    "presets": CORE | {"API"},
    "cli": CORE | {"API", "presets"},
    "API": CORE,
    "__main__": {"cli"},  # python -m calligram
    "errors": set(),
    "runs": set(),
    "pictures": set(),
    "progress": set(),
    "files": set(),
}
FOR_ALL = {"errors", "pictures", "runs", "progress", "files"}
# ... and the root modules, which stand below the rooms, only this one
FOR_ROOT_MODULES = {"errors"}


def violations(root: Path) -> list[str]:
    """``calligram/nn/attention.py:3: nn may not import train`` for each wrong import in the tree."""
    found = []
    for path in sorted((root / "calligram").rglob("*.py")):
        room = room_of(path.relative_to(root).with_suffix("").parts)
        for line, target in imported_rooms(path, root):
            if target != room and target not in allowed(room):
                found.append(f"{path.relative_to(root)}:{line}: {room} may not import {target}")
        if room not in MAY_IMPORT:
            found.append(f"{path.relative_to(root)}: {room} is no room of the table")
    return found


def allowed(room: str) -> set[str]:
    return MAY_IMPORT.get(room, set()) | (FOR_ROOT_MODULES if room in FOR_ALL else FOR_ALL)


def room_of(parts: tuple[str, ...]) -> str:
    """("calligram", "nn", "attention") → "nn"; the package itself is the API."""
    return parts[1] if len(parts) > 1 and parts[1] != "__init__" else "API"


def imported_rooms(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and room of each import of calligram, also within functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for name in imported_names(node, path.relative_to(root)):
            if name == "calligram" or name.startswith("calligram."):
                yield node.lineno, room_of_name(name, root)


def room_of_name(name: str, root: Path) -> str:
    """``calligram.clip.model`` → clip; ``calligram.load_clip`` → API, since no such file or folder exists."""
    room = room_of(tuple(name.split(".")))
    exists = room in MAY_IMPORT or (root / "calligram" / room).exists() or (root / "calligram" / f"{room}.py").exists()
    return room if exists else "API"


def imported_names(node: ast.AST, path: Path) -> list[str]:
    """Dotted names that a piece of code imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        package = path.parts[: len(path.parts) - node.level] if node.level else ()
        base = ".".join([*package, *filter(None, [node.module])])
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and called_name(node) in ("import_module", "__import__"):
        return [leading_text(node.args[0])]
    return []


def called_name(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def leading_text(node: ast.expr) -> str:
    """``"calligram.clip"`` and the fixed beginning of ``f"calligram.clip.{name}"``."""
    if isinstance(node, ast.JoinedStr) and node.values:
        node = node.values[0]
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def test_imports_follow_the_table_of_rooms():
    assert violations(ROOT) == []


def test_every_room_of_the_tree_is_walked():
    rooms = {room_of(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "calligram").rglob("*.py")}
    assert rooms >= CORE - {"eval"} | {"cli", "errors"}


@pytest.mark.parametrize(
    ("path", "code", "expected"),
    [
        ("nn/layer.py", "import calligram.train.loop", "nn may not import train"),
        ("nn/layer.py", "from calligram import clip", "nn may not import clip"),
        ("nn/layer.py", "from calligram import load_clip", "nn may not import API"),
        ("nn/layer.py", "import calligram", "nn may not import API"),
        ("clip/model.py", "def late():\n    from ..dalle.model import Dalle", "clip may not import dalle"),
        ("clip/model.py", "if TYPE_CHECKING:\n    from calligram.train import loop", "clip may not import train"),
        ("dalle/model.py", "import importlib\nimportlib.import_module('calligram.clip')", "dalle may not import clip"),
        ("dalle/model.py", "import_module(f'calligram.clip.{x}')", "dalle may not import clip"),
        ("eval/tasks/speed.py", "from ...train import loop", "eval may not import train"),
        ("data/sources/toy.py", "from calligram.cli.console import say", "data may not import cli"),
        ("train/loop.py", "from calligram.presets import clip_shapes", "train may not import presets"),
        ("presets/toy.py", "from calligram.cli import main", "presets may not import cli"),
        ("runs.py", "from calligram.progress import track", "runs may not import progress"),
        ("errors.py", "import calligram.nn", "errors may not import nn"),
        ("__init__.py", "from calligram.cli import main", "API may not import cli"),
        ("vision/towers.py", "import os", "vision is no room of the table"),
        ("helpers.py", "", "helpers is no room of the table"),
        ("clip/model.py", "from calligram.errors import UserError\nfrom ..nn.layer import Layer", None),
        ("eval/tasks/rerank.py", "from calligram.dalle import sampling\nfrom ...clip import model", None),
        ("cli/verbs/train.py", "from calligram import load_clip, presets\nimport calligram.train.loop", None),
        ("runs.py", "from .errors import UserError", None),
        ("__init__.py", "def load_clip():\n    from calligram.clip.model import load", None),
        ("tokenizers/text.py", "import tokenizers\nimport transformers.clip", None),
    ],
)
def test_the_walk_bites(tmp_path, path, code, expected):
    """Each arrow alone in a tree of its own; the last ones are allowed."""
    file = tmp_path / "calligram" / path
    file.parent.mkdir(parents=True)
    file.write_text(code)
    found = violations(tmp_path)
    assert len(found) == (expected is not None)
    assert expected is None or found[0].endswith(expected)


def run_python(code: str) -> str:
    """What a fresh Python prints that was started in the checkout's root."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True).stdout


def test_no_folder_shadows_a_library():
    """``python -c`` puts the checkout's root first on the path, before the libraries."""
    code = """
from importlib.util import find_spec
import tokenizers
print(tokenizers.Tokenizer.__module__, find_spec("transformers").origin, find_spec("tokenizers").origin)
"""
    module, *origins = run_python(code).split()
    assert module == "tokenizers"
    assert all("site-packages" in origin for origin in origins)


def test_importing_the_package_is_cheap():
    """Nobody waits for torch to read a help text."""
    imported = run_python("import sys, calligram; print(*sys.modules)").split()
    assert "calligram" in imported
    assert {"torch", "transformers", "timm", "open_clip", "numpy", "PIL", "pydantic", "tyro"}.isdisjoint(imported)
