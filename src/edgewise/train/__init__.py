"""Training: denoising queries, schedule, optimizer, moving average, step, trainer."""
