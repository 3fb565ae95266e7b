"""The one exception that the command line shows as a plain message instead of a traceback."""


class UserError(Exception):
    """Something that the user can put right: the message names the file, kanji or flag, and the way out."""
