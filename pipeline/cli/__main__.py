"""Lets ``python -m pipeline.cli`` run ``npd``."""

from pipeline.cli.app import main

if __name__ == "__main__":
    main()
