"""The shipped attacks: what ``doctor --attack`` tries from inside a sandbox, and how it is judged from outside."""
