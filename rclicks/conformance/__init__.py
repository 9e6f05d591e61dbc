"""One suite of checks that every plug-in must pass; run by `rclicks test`."""
