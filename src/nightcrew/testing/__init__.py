"""Shipped test kit: hermetic repositories and what the suites share."""
