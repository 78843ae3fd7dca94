"""The gateway: the way from an agent to its model. Plain HTTP inside, TLS with the user's key outside, metered between."""
