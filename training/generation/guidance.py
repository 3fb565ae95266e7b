"""Classifier-free guidance where nothing else is asked for."""

GUIDANCE_SCALE = 3.0  # for the embedded base; Stable Diffusion bases want 5 or more
GUIDED_FRACTION = 0.5  # of the steps, from the noisiest on; after them the words decide little
