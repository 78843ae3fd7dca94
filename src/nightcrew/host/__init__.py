"""The doors to the operating system: processes, git, files, locks, clock, shell parser."""
