"""A command line → what it really starts and writes: the syntax tree walked, quotes undone, wrappers taken off.

``words`` (a word of the tree → the texts bash makes of it), ``shell`` (folder and variables) and ``pipes`` (what a command
reads) → ``walk`` (tree → program starts), which asks ``wrappers``, ``shells``, ``programs`` and ``gitline`` what a start
runs in turn, and ``effects`` which paths it writes.
"""
