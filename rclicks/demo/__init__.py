"""``rclicks demo``: click on an image in the browser. Only the module `_page` depends on gradio."""
