"""The analysis of records: number of clicks, robustness, tables and statistics."""
