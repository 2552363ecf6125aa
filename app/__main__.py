"""`python -m app` is `moa`."""

from app.cli import main

if __name__ == "__main__":
    main()
