"""Settings and presets, the loop, train state, losses, resuming, the run folder, export and cards."""
