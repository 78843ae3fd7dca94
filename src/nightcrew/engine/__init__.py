"""Durable execution on DBOS: runs, tasks, attempts, retries, cancel, recovery."""
