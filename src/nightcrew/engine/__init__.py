"""Durable execution on DBOS: which task runs when, attempt by attempt, through crashes and waits for a human.

Read in this order: ``schedule`` (what may start), ``retry`` (what may be tried again), ``attempt`` (one attempt from
shadow to evidence), ``board`` (one run's moves), ``workflows`` (the control flow that survives ``kill -9``), ``hosting``.
"""
