"""The library API by area: ``Runtime.agents``, ``Runtime.checkpoints``, ``Runtime.people`` and the others."""
