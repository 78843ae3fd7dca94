"""The way into the user's repository: chosen, shaped, proven, promoted; and out of it again."""
