"""XML files that may be hostile, cut off or packed: how they are opened, and what is said where they cannot be read."""

from __future__ import annotations

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lxml import etree

from errors import UserError

# lxml's settings for any file from outside: nothing fetched, nothing expanded, nothing repaired, no giants.
SAFELY = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "recover": False,
    "remove_comments": True,
}


def open_xml(path: Path) -> BinaryIO:
    """The file's bytes, unpacked if they are gzip (told by the first two bytes, whatever the name). Raises OSError."""
    stream = path.open("rb")
    if stream.read(2) == b"\x1f\x8b":
        stream.close()
        return gzip.open(path, "rb")
    stream.seek(0)
    return stream


@contextlib.contextmanager
def readable(path: Path, flag: str) -> Iterator[None]:
    """Turn what can be wrong with a compressed XML file into one UserError that names the file and the flag."""
    way_out = f"Fetch it again, or name another: {flag}"
    try:
        yield
    except etree.XMLSyntaxError as error:
        raise UserError(f"{path}: not well-formed XML ({error.msg}). {way_out}") from None
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: cut off or corrupt ({error}). {way_out}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}). {way_out}") from None


def refuse_entities(path: Path | str, tree: etree._ElementTree) -> None:
    """Raises UserError where the document declares entities of its own (a DOCTYPE without them is fine)."""
    dtd = tree.docinfo.internalDTD
    names = [entity.name for entity in dtd.iterentities()] if dtd is not None else []
    if names:
        raise UserError(f"{path}: declares the entity {names[0]!r}; files with entities are refused. Use the original")
