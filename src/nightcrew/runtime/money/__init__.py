"""Budgets of runs and days, what ends a night, and what models cost."""
