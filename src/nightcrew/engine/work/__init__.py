"""One attempt of one task: its place, its agent, its questions, what it reaches, what is watched, its proof."""
