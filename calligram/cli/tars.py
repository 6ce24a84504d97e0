"""Pictures in a tar that has no index, with or without words beside them."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from calligram.data.picture_file import SUFFIXES
from calligram.errors import UserError


def tar_members(tar: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each picture. Raises UserError for what is no tar, or is cut off."""
    try:
        with tarfile.open(tar, mode="r:") as archive:
            for member in archive:
                if member.isreg() and Path(member.name).suffix.lower() in SUFFIXES:
                    yield member.name, _read(archive, member)
                # tarfile keeps them all, which of a large tar would fill the memory
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue]
            _check_end(tar, archive.offset)
    except tarfile.TarError as error:
        raise UserError(f"{tar} is not a readable tar ({error}): write or fetch it again") from None
    except OSError as error:
        raise UserError(f"{tar} cannot be read ({error.strerror or error})") from None


def read_member(tar: Path, name: str) -> bytes:
    """One picture of a tar."""
    with tarfile.open(tar, mode="r:") as archive:
        try:
            return _read(archive, archive.getmember(name))
        except KeyError:
            raise UserError(f"{tar} has no {name} any more: make the index anew with `calligram embed`") from None


def _check_end(tar: Path, offset: int) -> None:
    """tarfile takes a header that is cut or damaged for the end, where two blocks of zeros should stand."""
    with tar.open("rb") as file:
        file.seek(offset)
        if file.read(2 * tarfile.BLOCKSIZE) != bytes(2 * tarfile.BLOCKSIZE):
            raise UserError(f"{tar} is cut off or damaged behind byte {offset:,}: write or fetch it again")


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, "only regular files are asked for"
    return file.read()
