"""The data set contract and what data set modules share: decoding, roots, layouts."""
