"""Run the command line as ``python -m rclicks``."""

from rclicks.cli.main import main

if __name__ == "__main__":
    main()
