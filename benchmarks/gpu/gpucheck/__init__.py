"""The parts of ``check.py``; `machine`, `plan` and `report` need nothing but Python itself."""
