"""Functions for data sets of images with masks of several raters.

`mask_files` reads images and masks in many file formats, `options` contains the rules that a user can set, `listing`
describes which files are expected, and `dataset` combines them to a data set.
"""
