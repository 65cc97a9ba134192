"""Detections scored against annotations: numbers, curves and the images worth looking at."""
