"""What is set: the environment, config.yaml and its parts, role files, keys. Nothing here knows the rest of the runtime."""
