"""Who decides: accounts, factors, and on what terms a question is answered."""
