"""Which agents there are on this machine, and which of them does which task."""
