"""The contract of data sets, and functions that data set modules share: decoding, folders, layouts."""
