"""Exported detectors: their engines, the face they share with the others, and what they cost. No torch."""
