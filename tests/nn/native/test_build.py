import logging
import shutil

import pytest

from calligram.nn.native import build


def test_it_is_compiled_once_for_a_source_and_a_processor(tmp_path, monkeypatch):
    path = build.compiled(build.SOURCE, tmp_path)
    before = path.stat().st_mtime_ns
    assert build.compiled(build.SOURCE, tmp_path) == path and path.stat().st_mtime_ns == before
    assert [x.name for x in tmp_path.iterdir()] == [path.name], "nothing half done is left"
    copies = tmp_path / "copies"
    shutil.copytree(build.SOURCE.parent, copies)
    header = copies / "vectors.h"
    header.write_text(header.read_text() + "\n/* changed */\n")
    assert build.compiled(copies / "decoder.c", tmp_path).name != path.name
    monkeypatch.setattr(build, "processor", lambda: "another")
    assert build.compiled(build.SOURCE, tmp_path).name != path.name


def test_without_a_compiler_one_line_says_so(monkeypatch, caplog):
    build.library.cache_clear()
    monkeypatch.setenv("CC", "")
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert build.library() is None
        assert build.library() is None
    build.library.cache_clear()
    (record,) = caplog.records
    assert "install gcc or clang" in record.getMessage()


def test_what_does_not_compile_says_why(tmp_path):
    wrong = tmp_path / "wrong.c"
    wrong.write_text("int f( {")
    with pytest.raises(build.NoCompilerError, match="error"):
        build.compiled(wrong, tmp_path / "cache")
