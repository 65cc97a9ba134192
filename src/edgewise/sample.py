"""One annotated image, checked when it is made. No torch: validating an exported detector reads these too."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8


@dataclass(frozen=True)
class Sample:
    """One annotated image, in its own pixels: RGB uint8 [H, W, 3], boxes_xyxy [n, 4], labels [n].

    Raises ValueError, naming `path` and the box, unless all are finite, x1 <= x2 and y1 <= y2.
    """

    image: UInt8[np.ndarray, "H W 3"]
    boxes_xyxy: Float[np.ndarray, "n 4"]
    labels: Int[np.ndarray, " n"]
    image_id: int = 0
    path: str = ""

    def __post_init__(self) -> None:
        boxes = self.boxes_xyxy
        ok = np.isfinite(boxes).all(1) & (boxes[:, :2] <= boxes[:, 2:]).all(1)
        if not ok.all():
            index = int(np.argmin(ok))
            raise ValueError(
                f"{self.path or 'sample'}: box {index} is {boxes[index].tolist()}; "
                "expected finite x1 <= x2 and y1 <= y2"
            )
        if len(boxes) != len(self.labels):
            raise ValueError(f"{self.path or 'sample'}: {len(boxes)} boxes but {len(self.labels)} labels")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.shape[0], self.image.shape[1]
