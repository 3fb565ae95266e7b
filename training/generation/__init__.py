"""A request, sampling, the choice among several, SVG, a font."""
