"""What follows from spending: budgets that come to their end, and those that are raised."""
