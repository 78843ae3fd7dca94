"""The course of runs and tasks, as rows: what may start, waits, is paused, retried, given to another, stopped."""
