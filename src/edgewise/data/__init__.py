"""Data sets: annotated images read and checked, made up, augmented, put together into batches."""
