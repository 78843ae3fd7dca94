"""Entry point of the ``nightcrew`` command; answers ``--version`` and hooks before anything heavy is imported."""

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from nightcrew import __version__

        sys.stdout.write(f"nightcrew {__version__}\n")
        return 0
    if (
        sys.argv[1:2] == ["hook"]
        and len(sys.argv) == 4
        and not any(word.startswith("-") for word in sys.argv)
    ):
        # Runs before every single tool of an agent.
        from nightcrew.agents.hook import main as answer_hook

        return answer_hook(*sys.argv[2:])
    import gc

    # What is imported stays: looking for garbage among it, again and again while more is imported and once more at the end,
    # is an eighth of what a short command costs.
    gc.set_threshold(50_000, 20, 50)
    from nightcrew.cli import run_command_line

    try:
        return run_command_line(sys.argv[1:])
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
