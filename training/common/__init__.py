"""The lowest floor: files, errors, signals, the command line, seeds, statistics. Knows nothing of kanji."""
