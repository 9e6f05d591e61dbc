"""What sets of images drawn by several raters share.

`mask_files` reads images and masks of odd files, `options` has the rules that a user may choose, `listing` says which
files should be there, and `dataset` puts them together as one data set.
"""
