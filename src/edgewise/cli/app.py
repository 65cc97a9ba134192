"""The application every command joins, and the one console it speaks on."""

from cyclopts import App, Parameter
from rich.console import Console

app = App(
    name="edgewise",
    help="Real-time object detection with honest error bars (D-FINE).",
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # `main` has something to say about it
)
console = Console(stderr=True)
Flag = Parameter(negative=())


def say(text: object) -> None:
    """A line for the reader: as it is, and wrapped by the terminal alone."""
    console.print(str(text), markup=False, highlight=False, soft_wrap=True)
