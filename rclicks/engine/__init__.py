"""Plan -> episodes -> records."""
