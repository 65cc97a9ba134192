"""What is wrong with a data set, and what to do about it: `examine`, then a page, a text or a cleaned copy."""
