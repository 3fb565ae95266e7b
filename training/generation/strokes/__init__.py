"""A drawn character as strokes: centre lines in drawing order, found with the help of KanjiVG's components."""
