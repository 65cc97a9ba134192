"""Fitting what makes error bars honest, and measuring whether they are."""
