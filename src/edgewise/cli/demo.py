"""`edgewise demo`."""

from pathlib import Path

from edgewise.cli.app import app, console


@app.command
def demo(
    *,
    out: Path = Path("demo"),
    seed: int = 0,
) -> None:
    """See it work: error bars in made-up scenes, held against the truth, and a minute of training.

    Needs no file and no network: a detector comes along. Writes report.html, within seconds and again after
    the training, pictures and the trained detector into OUT.

    Example: `edgewise demo`

    Parameters
    ----------
    out
        Folder for everything it makes.
    seed
        Scenes and the training follow from it.
    """
    from edgewise.demo import run

    run(out, seed=seed, console=console)
