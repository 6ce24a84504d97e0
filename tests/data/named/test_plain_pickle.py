"""The reader of CIFAR's pickles: the data of every protocol, and no step of a program."""

import pickle

import numpy as np
import pytest

from calligram.data.named.plain_pickle import read
from calligram.errors import UserError

DATA = {
    "data": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "labels": [0, 1, 300, 70_000, -5],
    "names": ("a", "bird", "été"),
    "few": ("x",),
    "nothing": [None, True, False, 1.5, {}],
}


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def same(found, expected):
    assert list(found) == list(expected)
    assert np.array_equal(found["data"], expected["data"]) and found["data"].dtype == np.uint8
    for key in ("labels", "names", "few", "nothing"):
        assert found[key] == expected[key]


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_every_protocol(protocol):
    if protocol < 2:  # old copyreg calls by name, which are refused; without an array there are none
        plain = {key: value for key, value in DATA.items() if key != "data"}
        assert read(pickle.dumps(plain, protocol), "x") == plain
    else:
        same(read(pickle.dumps(DATA, protocol), "x"), DATA)


def test_python_2_as_the_original_files_have_it():
    """Byte strings and an array's bytes as BINSTRING; the original batches begin so."""
    pixels = bytes(range(250, 256))
    stream = b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00"
    stream += b"\x85q\x05U\x01bq\x06\x87q\x07Rq\x08(K\x01K\x02K\x03\x86q\x09cnumpy\ndtype\nq\x0aU\x02u1q\x0bK\x00K\x01"
    stream += b"\x87q\x0cRq\x0d(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x06\x00\x00\x00" + pixels
    stream += b"tbU\x06labelsq\x0e]q\x0f(K\x06K\x09eu."
    found = read(stream, "x")
    assert found["data"].tolist() == [[250, 251, 252], [253, 254, 255]] and found["labels"] == [6, 9]
    assert np.array_equal(pickle.loads(stream, encoding="latin1")["data"], found["data"])  # noqa: S301  # our own


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_program_is_refused(protocol, capsys):
    with pytest.raises(UserError, match=r"file would run \S*print, which is refused: fetch the original file"):
        read(pickle.dumps({"a": Evil()}, protocol), "file")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", [{1, 2}, np.arange(3.0), np.array([print, None]), bytearray(b"x")])
def test_other_objects_are_refused(value):
    with pytest.raises(UserError, match=r"^file "):
        read(pickle.dumps(value, 4), "file")


def test_damage_is_told():
    whole = pickle.dumps(DATA, 2)
    for cut in range(0, len(whole), 7):
        with pytest.raises(UserError, match=r"^file "):
            read(whole[:cut], "file")
    generator = np.random.default_rng(0)
    for _ in range(300):
        spoilt = bytearray(whole)
        spoilt[generator.integers(len(whole))] = generator.integers(256)
        try:
            read(bytes(spoilt), "file")
        except UserError:
            continue


def test_a_list_within_itself():
    loop = []
    loop.append(loop)
    with pytest.raises(UserError, match=r"^file is damaged"):
        read(pickle.dumps(loop, 2), "file")
