"""Where the two files come from: KANJIDIC2 (meanings) and KanjiVG (strokes)."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from errors import UserError
from files import replacing
from xml_files import open_xml, readable

_FILE = "kanjidic2.xml.gz"
KANJIDIC_URL = f"http://www.edrdg.org/kanjidic/{_FILE}"
KANJIVG_URL = "https://github.com/KanjiVG/kanjivg/releases"
DEBIAN_PACKAGE = "kanjidic-xml"
DEBIAN_FILE = Path(f"/usr/share/edict/{_FILE}")
CACHE = Path(__file__).resolve().parent.parent / "data" / "sources"
_CONNECT_SECONDS, _READ_SECONDS = 3, 15
_APT_SECONDS = 120
_MAX_UNZIPPED = (1 << 20) + 1  # bytes of one file: enough for the reader to see that it is too large
_HEADER_BYTES = 1 << 16  # the header of kanjidic2.xml stands behind some 14 kB of DTD


@dataclass(frozen=True)
class Source:
    """One of the two sources: what it is, and exactly which."""

    name: str
    version: str  # as the source numbers itself
    date: str  # ISO 8601, of the release
    sha256: str  # of the XML inside (KANJIDIC2), or of all file names and contents in order (KanjiVG)
    origin: str = field(compare=False)  # how it was found, for the screen

    def manifest_entry(self) -> dict[str, str]:
        """The source as it goes into the manifest: nothing that depends on how it was found."""
        return {"name": self.name, "version": self.version, "date": self.date, "sha256": self.sha256}


# ---------------------------------------------------------------- KANJIDIC2


def find_kanjidic(named: Path | None, cache: Path = CACHE) -> tuple[Path, Source]:
    """Find KANJIDIC2: the file named, else the cache, else EDRDG's own, else Debian's package of it.

    Raises UserError where the file named is none, or none of the others can be had.
    """
    if named is not None:
        if not named.is_file():
            raise UserError(f"--kanjidic {named}: no such file")
        return named, describe_kanjidic(named, str(named))
    cached = cache / _FILE
    if cached.is_file():
        with contextlib.suppress(UserError):
            return cached, describe_kanjidic(cached, f"{cached}, kept from an earlier run")
    failures = []
    for name, fetch in (("EDRDG", _from_edrdg), ("Debian, installed", _installed), ("Debian, fetched", _from_debian)):
        with tempfile.TemporaryDirectory(prefix="kanjidic-") as folder:
            try:
                found, origin = fetch(Path(folder))
                source = describe_kanjidic(found, origin)
            except (_UnavailableError, UserError) as error:
                failures.append(f"  {name}: {error}")
                continue
            return _keep(found, cached), source
    raise UserError(
        "KANJIDIC2 cannot be had:\n" + "\n".join(failures) + f"\nFetch {KANJIDIC_URL} (or Debian's package "
        f"{DEBIAN_PACKAGE}) on a machine that can, then: --kanjidic PATH"
    )


class _UnavailableError(Exception):
    """One of several ways to a file is closed; the message says why."""


def _from_edrdg(folder: Path) -> tuple[Path, str]:
    """Fetch today's file; returns it and how it was found. Raises _UnavailableError."""
    import pooch
    import requests

    # No hash is pinned: EDRDG publishes a new file every day. What came is checked as XML, and its hash recorded.
    pooch.get_logger().setLevel(logging.ERROR)
    fetcher = pooch.create(
        path=folder,
        base_url=KANJIDIC_URL.removesuffix(_FILE),
        registry={_FILE: None},  # no hash
        retry_if_failed=1,
    )
    downloader = pooch.HTTPDownloader(timeout=(_CONNECT_SECONDS, _READ_SECONDS))
    try:
        path = fetcher.fetch(_FILE, downloader=downloader)
    except (requests.RequestException, OSError, ValueError) as error:
        raise _UnavailableError(f"{KANJIDIC_URL} is not reachable ({type(error).__name__})") from None
    return Path(path), f"fetched from {KANJIDIC_URL}"


def _installed(folder: Path) -> tuple[Path, str]:
    """The file of Debian's package where that is installed. Raises _UnavailableError."""
    if not DEBIAN_FILE.is_file():
        raise _UnavailableError(f"{DEBIAN_FILE} is not there")
    return DEBIAN_FILE, f"{DEBIAN_FILE}, of Debian's package {DEBIAN_PACKAGE}"


def _from_debian(folder: Path) -> tuple[Path, str]:
    """Fetch and unpack the package without root, with the machine's package lists or with lists of our own.

    Raises _UnavailableError.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise _UnavailableError("no apt-get and dpkg-deb on this machine")
    options = ["-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=8", "-o", "Acquire::https::Timeout=8"]
    options += ["-o", "APT::Sandbox::User="]
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    private = ["-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache"]
    attempts = ([["download", DEBIAN_PACKAGE]], [[*private, "update"], [*private, "download", DEBIAN_PACKAGE]])
    reason = "apt-get download failed"
    for commands in attempts:
        try:
            for command in commands:
                _run(["apt-get", "-q", *options, *command], folder)
            package = next(folder.glob(f"{DEBIAN_PACKAGE}_*.deb"))
            _run(["dpkg-deb", "-x", str(package), str(folder / "unpacked")], folder)
            return folder / "unpacked" / DEBIAN_FILE.relative_to("/"), f"Debian's package {package.name}"
        except _UnavailableError as error:
            reason = str(error)
        except StopIteration:
            reason = "apt-get download left no package"
    raise _UnavailableError(reason)


def _run(command: list[str], folder: Path) -> None:
    """Run a command in a folder. Raises _UnavailableError, with the command's own reason, where it fails."""
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=_APT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise _UnavailableError(f"{command[0]} took more than {_APT_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        errors = [line for line in error.stderr.splitlines() if line.startswith("E:")]
        raise _UnavailableError(f"{command[0]}: {errors[0] if errors else 'failed'}") from None
    except OSError as error:
        raise _UnavailableError(f"{command[0]}: {error.strerror}") from None


def _keep(found: Path, cached: Path) -> Path:
    """Put a file into the cache. Raises UserError where it cannot be written."""
    try:
        with replacing(cached) as temporary:
            shutil.copyfile(found, temporary)
    except OSError as error:
        reason = f"{cached}: cannot be written ({error.strerror})"
        raise UserError(f"{reason}. Make room, or name a file: --kanjidic") from None
    return cached


def describe_kanjidic(path: Path, origin: str) -> Source:
    """Version, date and hash of a KANJIDIC2 file; the whole file is read, so that a cut-off one is found.

    Raises UserError where the file cannot be read to its end, or is something else.
    """
    digest = hashlib.sha256()
    head = b""
    with readable(path, "--kanjidic"), open_xml(path) as stream:
        while block := stream.read(1 << 20):
            head = head or block[:_HEADER_BYTES]
            digest.update(block)
    if b"<kanjidic2" not in head:
        raise UserError(f"{path}: not KANJIDIC2 (no <kanjidic2> in it). Name another: --kanjidic")
    version, date = (
        match.group(1).decode("ascii", "replace") if (match := re.search(pattern, head)) else "unknown"
        for pattern in (rb"<database_version>([^<]{1,40})<", rb"<date_of_creation>([^<]{1,40})<")
    )
    return Source("KANJIDIC2", version, date, digest.hexdigest(), origin)


# ---------------------------------------------------------------- KanjiVG


def find_kanjivg(named: Path | None) -> tuple[list[tuple[str, bytes]], Source]:
    """Find KanjiVG: the folder, zip or xml.gz named, else the installed package.

    Returns (name, bytes) of every main file (variants such as 06f22-Kaisho.svg left out), in order of name, and the
    source. Raises UserError where nothing is there, or nothing of KanjiVG in it.
    """
    if named is None:
        origin, files, version = _packaged()
    elif not named.exists():
        raise UserError(f"--kanjivg {named}: no such file or folder. Releases: {KANJIVG_URL}")
    else:
        with readable(named, "--kanjivg"):
            files = _from_folder(named) if named.is_dir() else _from_release(named)
        stamp = re.search(r"20\d{6}", named.name)
        origin, version = str(named), stamp.group() if stamp else "unknown"
    if not files:
        raise UserError(f"{origin}: no file of KanjiVG in it, such as 06f22.svg. Name another: --kanjivg")
    digest = hashlib.sha256()
    for name, data in files:
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    date = re.sub(r"(20\d\d)(\d\d)(\d\d).*", r"\1-\2-\3", version)
    return files, Source("KanjiVG", version, date, digest.hexdigest(), origin)


def _packaged() -> tuple[str, list[tuple[str, bytes]], str]:
    """How it was found, the main files and the version of the installed package, which is data without a module.

    Raises UserError where it is not installed.
    """
    try:
        package = importlib.metadata.distribution("kanjivg")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            "KanjiVG cannot be had: its package is not installed. Run: pip install -r requirements.txt\n"
            f"Or fetch a release from {KANJIVG_URL}, then: --kanjivg PATH"
        ) from None
    folder = Path(str(package.locate_file("kanji")))
    with readable(folder, "--kanjivg"):
        return f"package kanjivg {package.version}", _from_folder(folder), package.version


def _is_main(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{5,6}\.svg", name) is not None


def _from_folder(folder: Path) -> list[tuple[str, bytes]]:
    if (folder / "kanji").is_dir():
        folder = folder / "kanji"
    return [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.svg")) if _is_main(path.name)]


def _from_release(path: Path) -> list[tuple[str, bytes]]:
    """The main files in a release: the zip of SVG files, or the single XML file."""
    if not zipfile.is_zipfile(path):
        from kanjivg_reader import svg_files_of_xml

        return [(name, data) for name, data in svg_files_of_xml(path) if _is_main(name)]
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if _is_main(name.rpartition("/")[2]))
        return [(name.rpartition("/")[2], _unzipped(archive, name)) for name in names]


def _unzipped(archive: zipfile.ZipFile, name: str) -> bytes:
    """The beginning of a file in a zip, _MAX_UNZIPPED bytes at most. Raises zipfile.BadZipFile."""
    try:
        with archive.open(name) as stream:
            return stream.read(_MAX_UNZIPPED)
    except RuntimeError as error:  # encrypted, or packed in a way that Python cannot unpack
        raise zipfile.BadZipFile(str(error)) from None
