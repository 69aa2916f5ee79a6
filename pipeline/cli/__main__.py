"""Lets ``python -m pipeline.cli`` run ``npd``."""

from pipeline.cli.entry import main

if __name__ == "__main__":
    main()
