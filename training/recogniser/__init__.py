"""Picture to components, strokes and well-formedness: network, labels, training, judge."""
