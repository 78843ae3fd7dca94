"""Policies and roles as things to look at: tried, compared, replayed, explained."""
