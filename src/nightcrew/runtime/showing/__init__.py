"""The whole job in a throw-away place: the demo, and rehearsals with a scripted model."""
