"""Trees of files on their way in and out: where a run starts, what drifted, what stands against a tree that lands."""
