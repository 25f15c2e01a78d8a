"""Commands that are no step: one module each, which exports its `command`."""
