"""The installation itself: set up, examined, attacked, cleaned."""
