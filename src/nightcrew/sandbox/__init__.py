"""From a spec to a confined process tree: launcher, limits, probe."""
