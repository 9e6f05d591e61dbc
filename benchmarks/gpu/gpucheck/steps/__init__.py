"""The steps of the check: one module each, with ``run(step)``; see `gpucheck.plan`."""
