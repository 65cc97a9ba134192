"""How a box came to be: what every decoder layer says about the objects of one image, in numpy."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8

from edgewise.decode import edge_distributions, sigmoid
from edgewise.edges import EdgeDistributions
from edgewise.predict.network import NetworkPredictor, each_layer
from edgewise.predict.predictor import Threshold
from edgewise.predict.sources import ImageLike, expand, load


@dataclass(frozen=True, eq=False)
class Trace:
    """M objects of one image over L layers, the best of the last layer first; boxes and edges in its pixels.

    image               the upright original
    labels              [M] each object's best class in the last layer, an index into class_names
    initial_boxes_xyxy  [M, 4] what all layers refine
    boxes_xyxy          [L, M, 4] after each layer; not clipped to the image
    scores              [L, M] of that class
    edges               L distributions of M boxes each: the raw ones, of which boxes_xyxy are the means
    """

    image: UInt8[np.ndarray, "H W 3"]
    class_names: tuple[str, ...]
    labels: Int[np.ndarray, " M"]
    initial_boxes_xyxy: Float[np.ndarray, "M 4"]
    boxes_xyxy: Float[np.ndarray, "L M 4"]
    scores: Float[np.ndarray, "L M"]
    edges: tuple[EdgeDistributions, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def kl_next(self) -> Float[np.ndarray, "K M 4"]:
        """KL(next layer ‖ this one) by edge, in nats, for all layers but the last: what the next one adds."""
        added = [after.kl(before) for before, after in pairwise(self.edges)]
        return np.array(added).reshape(-1, len(self), 4)

    @property
    def kl_last(self) -> Float[np.ndarray, "L M 4"]:
        """KL(last layer ‖ this one) by edge, in nats: what is lost by stopping here; 0 for the last."""
        return np.stack([self.edges[-1].kl(one) for one in self.edges])

    def plot(self, box: int = 0) -> Any:
        """A matplotlib Figure of one object: the box of each layer, and below it its four distributions.

        Raises ValueError for an object that is not there. Needs the extra `evaluate`.
        """
        from edgewise.predict.trace_plot import plot

        if not 0 <= box < len(self):
            expected = f"expected 0 to {len(self) - 1}" if len(self) else "no object reached the threshold"
            raise ValueError(f"box {box}: {expected}")
        return plot(self, box)


def trace(predictor: NetworkPredictor, image: ImageLike, threshold: Threshold = 0.5) -> Trace:
    """The objects of one image whose class scores at least `threshold` in the last layer; see `Trace`.

    An object is a query with its best class. Layers are those that ran: fewer where the model stops early.
    """
    least = predictor.least(threshold)
    images, many = expand(image)
    if many:
        raise ValueError(f"{image}: {len(images)} images; expected a single one to trace")
    pixels, _ = load(images[0])
    ready = predictor.ready([pixels])
    layers, (_, geometry, _) = each_layer(predictor.output(ready)), ready[0]
    logits, boxes, edge_logits, initial_boxes = (
        np.stack(part) for part in zip(*(one for (one,) in layers), strict=True)
    )
    scores = sigmoid(logits)  # [L, Q, C]
    labels = scores[-1].argmax(-1)
    final = scores[-1].max(-1)
    rows = np.argsort(-final, kind="stable")
    rows = rows[final[rows] >= least[labels[rows]]]  # [M]
    initial = initial_boxes[0, rows]
    return Trace(
        image=pixels,
        class_names=predictor.class_names,
        labels=labels[rows],
        initial_boxes_xyxy=geometry.to_pixels(initial),
        boxes_xyxy=geometry.to_pixels(boxes[:, rows]),
        scores=scores[:, rows, labels[rows]],
        edges=tuple(
            edge_distributions(one, initial, geometry, predictor.values) for one in edge_logits[:, rows]
        ),
    )
