"""``python -m rclicks`` is the command line."""

from rclicks.cli.main import main

if __name__ == "__main__":
    main()
