"""A command line → what it really starts and writes: the syntax tree walked, quotes undone, wrappers taken off.

``words`` (a word of the tree → the texts bash would make of it) → ``walk`` (tree → program starts) with ``wrappers`` and
``shells`` (what a start runs in turn), ``gitline`` (git's own ways to run things), ``effects`` (which paths are written).
"""
