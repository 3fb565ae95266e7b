"""Models from a folder or the hub, the embedded base's architecture, and what differs between families."""
