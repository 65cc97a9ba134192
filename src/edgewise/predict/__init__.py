"""Images in, Detections out."""
