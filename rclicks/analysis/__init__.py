"""From records to numbers: effort, tables, statistics."""
