"""`edgewise demo`."""

from pathlib import Path

from edgewise.cli.app import app, console


@app.command
def demo(
    *,
    out: Path = Path("demo"),
    seed: int = 0,
) -> None:
    """See it work: made-up scenes, a small detector trained in minutes, pictures with error bars.

    Needs no file and no network. Writes report.html, pictures and the trained detector into OUT.

    Example: `edgewise demo`

    Parameters
    ----------
    out
        Folder for everything it makes.
    seed
        Scenes, weights and noise follow from it.
    """
    from edgewise.demo import run

    run(out, seed=seed, console=console)
