"""Suite of checks that every plug-in must pass; `rclicks test` runs it."""
