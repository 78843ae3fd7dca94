"""What a person looks at in the morning: a dossier per task, flags, order. Pure."""
