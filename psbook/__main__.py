"""``python -m psbook`` is the ``psbook`` command."""

from psbook.cli import main

if __name__ == "__main__":
    main()
