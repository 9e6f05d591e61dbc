"""`python -m rclicks` is the command `rclicks`."""

from __future__ import annotations

import sys

from rclicks.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
