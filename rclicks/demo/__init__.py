"""``rclicks demo``: click on an image in the browser. The page is made of a core that knows nothing of it."""
