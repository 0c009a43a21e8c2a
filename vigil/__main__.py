"""`python -m vigil`, the same as `vigil`."""

from __future__ import annotations

from vigil.cli import main

if __name__ == "__main__":
    main()
