"""What was spent, by whom, on which day: read out of the tables, held against budgets."""
