"""What the tasks of a run made: looked at, compared, put back, forked, put together."""
