"""Entry point of the ``nightcrew`` command; answers ``--version`` before anything heavy is imported."""

import sys


def main() -> int:
    """Run the command line and return its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from nightcrew import __version__

        sys.stdout.write(f"nightcrew {__version__}\n")
        return 0
    from nightcrew.cli import run_command_line

    return run_command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
