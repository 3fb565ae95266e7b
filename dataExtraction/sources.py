"""Where the two files come from: KANJIDIC2 (meanings) and KanjiVG (strokes)."""

import contextlib
import gzip
import hashlib
import importlib.metadata
import logging
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from errors import UserError
from kanjidic import open_xml

KANJIDIC_URL = "http://www.edrdg.org/kanjidic/kanjidic2.xml.gz"
KANJIVG_URL = "https://github.com/KanjiVG/kanjivg/releases"
DEBIAN_PACKAGE = "kanjidic-xml"
DEBIAN_FILE = Path("/usr/share/edict/kanjidic2.xml.gz")
CACHE = Path(__file__).resolve().parent.parent / "data" / "sources"
_CONNECT_SECONDS, _READ_SECONDS = 4, 15
_APT_SECONDS = 120
_HEADER_BYTES = 1 << 16  # the header of kanjidic2.xml stands behind some 14 kB of DTD


@dataclass(frozen=True)
class Source:
    """One of the two sources: what it is, and exactly which."""

    name: str
    version: str  # as the source numbers itself
    date: str  # ISO 8601, of the release
    sha256: str  # of the XML inside (KANJIDIC2), or of all file names and contents in order (KanjiVG)
    origin: str = field(compare=False)  # how it was found, for the screen

    def record(self) -> dict[str, str]:
        """The source as it goes into the manifest: nothing that depends on how it was found."""
        return {"name": self.name, "version": self.version, "date": self.date, "sha256": self.sha256}


# ---------------------------------------------------------------- KANJIDIC2


def find_kanjidic(named: Path | None, cache: Path = CACHE) -> tuple[Path, Source]:
    """Find KANJIDIC2: the file named, else the cache, else EDRDG's own, else Debian's package of it.

    Raises:
        UserError: the file named is none, or none of the others can be had.
    """
    if named is not None:
        if not named.is_file():
            raise UserError(f"--kanjidic {named}: no such file")
        return named, describe_kanjidic(named, str(named))
    cached = cache / "kanjidic2.xml.gz"
    if cached.is_file():
        with contextlib.suppress(UserError):
            return cached, describe_kanjidic(cached, f"{cached}, kept from an earlier run")
    failures = []
    for name, fetch in (("EDRDG", _from_edrdg), ("Debian, installed", _installed), ("Debian, fetched", _from_debian)):
        with tempfile.TemporaryDirectory(prefix="kanjidic-") as folder:
            try:
                found, origin = fetch(Path(folder))
                source = describe_kanjidic(found, origin)
            except (_Unavailable, UserError) as error:
                failures.append(f"  {name}: {error}")
                continue
            return _keep(found, cached), source
    raise UserError(
        "KANJIDIC2 cannot be had:\n" + "\n".join(failures) + f"\nFetch {KANJIDIC_URL} (or Debian's package "
        f"{DEBIAN_PACKAGE}) on a machine that can, then: --kanjidic PATH"
    )


class _Unavailable(Exception):
    """One of several ways to a file is closed; the message says why."""


def _from_edrdg(folder: Path) -> tuple[Path, str]:
    import pooch
    import requests

    # No hash is pinned: EDRDG publishes a new file every day. What came is checked as XML, and its hash recorded.
    pooch.get_logger().setLevel(logging.ERROR)
    fetcher = pooch.create(
        path=folder, base_url=KANJIDIC_URL.rpartition("/")[0] + "/", registry={"kanjidic2.xml.gz": None}, retry_if_failed=1
    )
    downloader = pooch.HTTPDownloader(timeout=(_CONNECT_SECONDS, _READ_SECONDS))
    try:
        path = fetcher.fetch("kanjidic2.xml.gz", downloader=downloader)
    except (requests.RequestException, OSError, ValueError) as error:
        raise _Unavailable(f"{KANJIDIC_URL} is not reachable ({type(error).__name__})") from None
    return Path(path), f"fetched from {KANJIDIC_URL}"


def _installed(folder: Path) -> tuple[Path, str]:
    if not DEBIAN_FILE.is_file():
        raise _Unavailable(f"{DEBIAN_FILE} is not there")
    return DEBIAN_FILE, f"{DEBIAN_FILE}, of Debian's package {DEBIAN_PACKAGE}"


def _from_debian(folder: Path) -> tuple[Path, str]:
    """Fetch and unpack the package without root, with the machine's package lists or with lists of our own."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise _Unavailable("no apt-get and dpkg-deb on this machine")
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
        except _Unavailable as error:
            reason = str(error)
        except StopIteration:
            reason = "apt-get download left no package"
    raise _Unavailable(reason)


def _run(command: list[str], folder: Path) -> None:
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(
            command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=_APT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise _Unavailable(f"{command[0]} took more than {_APT_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith("E:")] or [f"exit status {error.returncode}"]
        raise _Unavailable(f"{command[0]}: {lines[0]}") from None
    except OSError as error:
        raise _Unavailable(f"{command[0]}: {error.strerror}") from None


def _keep(found: Path, cached: Path) -> Path:
    """Put a file into the cache, never half-written."""
    temporary = cached.with_name(f".{cached.name}.{os.getpid()}")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(found, temporary)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(cached)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{cached}: cannot be written ({error.strerror}). Make room, or name a file: --kanjidic") from None
    return cached


def describe_kanjidic(path: Path, origin: str) -> Source:
    """Version, date and hash of a KANJIDIC2 file; the whole file is read, so that a cut-off one is found.

    Raises:
        UserError: the file cannot be read to its end.
    """
    digest = hashlib.sha256()
    head = b""
    try:
        with open_xml(path) as stream:
            while block := stream.read(1 << 20):
                head = head or block[:_HEADER_BYTES]
                digest.update(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: cut off or corrupt gzip ({error}). Fetch it again, or name another: --kanjidic") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}). Name another: --kanjidic") from None
    version, date = (
        match.group(1).decode("ascii", "replace") if (match := re.search(pattern, head)) else "unknown"
        for pattern in (rb"<database_version>([^<]{1,40})<", rb"<date_of_creation>([^<]{1,40})<")
    )
    return Source("KANJIDIC2", version, date, digest.hexdigest(), origin)


# ---------------------------------------------------------------- KanjiVG


def find_kanjivg(named: Path | None) -> tuple[list[tuple[str, bytes]], Source]:
    """Find KanjiVG: the folder, zip or xml.gz named, else the installed package.

    Returns:
        (name, bytes) of every main file (variants such as 06f22-Kaisho.svg left out), in order of name; the source.

    Raises:
        UserError: nothing there, or nothing of KanjiVG in it.
    """
    if named is None:
        origin, files, version = _packaged()
    elif named.is_dir():
        origin, version = str(named), "unknown"
        folder = named / "kanji" if (named / "kanji").is_dir() else named
        files = [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.svg")) if _is_main(path.name)]
    elif not named.is_file():
        raise UserError(f"--kanjivg {named}: no such file or folder")
    elif zipfile.is_zipfile(named):
        origin, files, version = str(named), _zipped(named), "unknown"
    else:
        origin, files, version = str(named), list(_from_xml(named)), "unknown"
    if not files:
        raise UserError(f"{origin}: no file of KanjiVG in it, such as 06f22.svg. Releases: {KANJIVG_URL}; flag: --kanjivg")
    digest = hashlib.sha256()
    for name, data in files:
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    if version == "unknown" and named is not None and (stamp := re.search(r"20\d{6}", named.name)):
        version = stamp.group()
    date = f"{version[:4]}-{version[4:6]}-{version[6:8]}" if re.fullmatch(r"20\d{6}.*", version) else "unknown"
    return files, Source("KanjiVG", version, date, digest.hexdigest(), origin)


def _is_main(name: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{5,6}\.svg", name) is not None


def _packaged() -> tuple[str, list[tuple[str, bytes]], str]:
    # Asked by distribution, not by import: the package's own module has the name of ours.
    try:
        package = importlib.metadata.distribution("kanjivg")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"KanjiVG cannot be had: its package is not installed. Run: pip install -r requirements.txt\n"
            f"Or fetch a release from {KANJIVG_URL}, then: --kanjivg PATH"
        ) from None
    folder = Path(str(package.locate_file("kanji")))
    files = [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.svg")) if _is_main(path.name)]
    return f"package kanjivg {package.version}", files, package.version


def _zipped(path: Path) -> list[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if _is_main(name.rpartition("/")[2]))
            return [(name.rpartition("/")[2], archive.read(name)) for name in names]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{path}: cut off or corrupt zip ({error}). Releases: {KANJIVG_URL}; flag: --kanjivg") from None


def _from_xml(path: Path) -> Iterator[tuple[str, bytes]]:
    """The characters of a release's single XML file, each as an SVG file of its own."""
    from kanjivg import svg_files_of_xml

    yield from svg_files_of_xml(path)
