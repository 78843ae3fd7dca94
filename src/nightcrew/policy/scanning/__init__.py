"""Secrets in what agents write: the forms of keys, where they hide, what only looks like one. Pure.

``forms`` is the one table that redaction and the scan of changes both use. ``assigned`` finds values by the name they are
given to, ``noise`` sorts out what is no secret, ``unwrap`` opens encodings and archives, ``texts`` scans one content,
``change`` a whole change.
"""
