"""A tasks file becomes a validated plan: parse, check, waves, render. Pure."""
