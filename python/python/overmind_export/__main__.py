"""Runs the command: ``python -m overmind_export`` is the same as ``overmind-export``."""

from ._command import main

main()
