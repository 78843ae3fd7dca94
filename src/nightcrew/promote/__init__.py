"""The only code that writes into the user's repository: prepare, publish, undo, recover."""
