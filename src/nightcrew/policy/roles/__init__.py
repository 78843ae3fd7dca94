"""Roles: what a kind of worker may do by itself, must ask for, and never does. A role is one more layer of policy that can only tighten.

Format: docs/formats/role.md. ``role`` has the values, ``reading`` makes them of a file, ``entries`` reads single lines of
authority, ``hours`` knows when a role works, ``putting`` lays a role over a policy, ``fitting`` says whether a task is its work.
"""
