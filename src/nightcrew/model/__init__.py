"""Words and laws: ids, lifecycles, plans, actions, changes, records, settings, errors. No I/O at all."""
