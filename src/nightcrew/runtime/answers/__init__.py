"""The answers of a person, or of a program of theirs, to what waits."""
