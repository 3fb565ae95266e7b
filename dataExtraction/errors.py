"""The one exception that the command line shows as a plain message instead of a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can put right: the message names the file, kanji or flag, and the way out."""
