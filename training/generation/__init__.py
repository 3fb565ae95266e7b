"""A request, sampling, the choice among several, SVG, strokes, a font."""
