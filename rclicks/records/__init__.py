"""The record schema and the Parquet store of a run."""
