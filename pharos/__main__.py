"""``python -m pharos`` is the umbrella command."""

from pharos.cli import main

if __name__ == "__main__":
    main(prog_name="pharos")
