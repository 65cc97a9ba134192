"""`edgewise replay`."""

from pathlib import Path

from edgewise.cli.app import app, say


@app.command
def replay(file: Path, *, device: str | None = None) -> None:
    """Repeat a training step that was not finite, and say where its numbers stop being finite.

    A training skips such a step and saves it with its images, weights and random streams. This names the
    terms, weights, images and boxes that are not finite, and the first module whose output is not.

    Example: `edgewise replay runs/bccd/bad_steps/step_1203.pt`

    Parameters
    ----------
    file
        What the training saved: bad_steps/step_N.pt in the folder of the run.
    device
        cpu, cuda, mps; that of the run by default, since others round differently.
    """
    from edgewise.train.replay import replay as repeat

    for line in repeat(file, device).lines():
        say(line)
