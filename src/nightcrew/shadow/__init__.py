"""A private copy-on-write copy of the repository for one task."""
