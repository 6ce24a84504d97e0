"""Open npm packages as a supply of data: fetched once by the ordinary client, unpacked once.

A tarball is looked for in the cache folder first, so it may as well be put there by hand.
"""

import gzip
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from calligram.errors import UserError
from calligram.progress import Progress, track


def tarball(package: str, version: str, cache: Path) -> Path:
    """The package's tarball in ``cache``, fetched with ``npm pack`` if it is not there yet."""
    path = cache / f"{package}-{version}.tgz"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        with Progress(f"fetch {package}@{version} with npm", total=1) as progress:
            _fetch(f"{package}@{version}", path)
            progress.advance()
    return path


def unpack(package: str, version: str, cache: Path, part: str, place: Callable[[str], str | None]) -> Path:
    """Fetch a package if need be, and unpack the wanted files flat into a folder named ``part``; return the folder.

    ``place`` maps a member's path to the file name it gets here, None to leave it out. The folder appears
    under its name only when it is whole, so that several processes may come here at once; once there, it stays.
    """
    folder = part_folder(package, version, cache, part)
    if folder.is_dir():
        return folder
    archive = tarball(package, version, cache)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{part}.partial-", dir=folder.parent) as aside:
        partial = Path(aside) / part
        partial.mkdir()
        if not _extract(archive, partial, place):
            raise UserError(f"{archive} holds no files for {part!r}: is it the package its name says?")
        _rename_or_yield(partial, folder)
    return folder


def part_folder(package: str, version: str, cache: Path, part: str) -> Path:
    """Where ``unpack`` puts a part of a package."""
    return cache / f"{package}-{version}" / part


def _fetch(specification: str, path: Path) -> None:
    """Into a folder of its own first: a broken-off download never gets the tarball's name."""
    remedy = f"or put {path.name} into {path.parent} by hand"
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"npm, which fetches {specification}, is not installed: install it, {remedy}")
    with tempfile.TemporaryDirectory(prefix="npm-", dir=path.parent) as aside:
        command = [npm, "pack", specification, "--loglevel=error", "--pack-destination", aside]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        made = sorted(Path(aside).glob("*.tgz"))
        if result.returncode != 0 or len(made) != 1:
            said = "; ".join(result.stderr.strip().splitlines()[:2]) or f"exit status {result.returncode}"
            raise UserError(f"npm pack {specification} failed ({said}): try it in a shell, {remedy}")
        os.replace(made[0], path)


def _extract(archive: Path, folder: Path, place: Callable[[str], str | None]) -> int:
    """Write the wanted members under ``folder`` and return how many they were."""
    count = 0
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream) as members:
            for member in track(members, f"unpack {folder.name} from {archive.name}"):
                file_name = place(member.name) if member.isfile() else None
                content = members.extractfile(member) if file_name is not None else None
                if file_name is None or content is None:
                    continue
                (folder / Path(file_name).name).write_bytes(content.read())  # .name: never outside the folder
                count += 1
            while stream.read(1 << 20):  # to the very end, where gzip's checksum is
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{archive} is damaged ({error}): delete it, and it is fetched again") from error
    return count


def _rename_or_yield(partial: Path, folder: Path) -> None:
    try:
        os.rename(partial, folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same content
            raise
