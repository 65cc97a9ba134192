"""Random outputs and targets, small and seeded."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from edgewise.structures import (
    DecoderOutput,
    EncoderOutput,
    InitialOutput,
    LayerOutput,
    ModelOutput,
    Targets,
)

LAYERS, QUERIES, CLASSES, BINS = 3, 8, 4, 8


def random_boxes(*shape: int, generator: Generator, dtype: torch.dtype = torch.float64) -> Tensor:
    """Boxes_cxcywh inside the image."""
    centre, side = torch.rand(2, *shape, 2, generator=generator, dtype=dtype)
    side = 0.05 + 0.4 * side
    return torch.cat([side / 2 + centre * (1 - side), side], -1)


def random_targets(*counts: int, generator: Generator, dtype: torch.dtype = torch.float64) -> Targets:
    labels = [torch.randint(CLASSES, (count,), generator=generator) for count in counts]
    return Targets.of(labels, [random_boxes(count, generator=generator, dtype=dtype) for count in counts])


def random_output(
    batch: int, generator: Generator, queries: int = QUERIES, dtype: torch.dtype = torch.float64
) -> ModelOutput:
    """Every tensor in it is a leaf that takes a gradient."""
    normal = random_decoder_output(batch, queries, generator, dtype)
    encoder = EncoderOutput(
        _logits(batch, queries, CLASSES, generator=generator, dtype=dtype),
        random_boxes(batch, queries, generator=generator, dtype=dtype).requires_grad_(),
        torch.zeros(batch, queries, dtype=torch.int64),
    )
    return ModelOutput(normal.layers, normal.initial, encoder)


def random_decoder_output(
    batch: int, queries: int, generator: Generator, dtype: torch.dtype = torch.float64
) -> DecoderOutput:
    def boxes() -> Tensor:
        return random_boxes(batch, queries, generator=generator, dtype=dtype).requires_grad_()

    layers = tuple(
        LayerOutput(
            _logits(batch, queries, CLASSES, generator=generator, dtype=dtype),
            boxes(),
            _logits(batch, queries, 4, BINS + 1, generator=generator, dtype=dtype),
        )
        for _ in range(LAYERS)
    )
    logits = _logits(batch, queries, CLASSES, generator=generator, dtype=dtype)
    return DecoderOutput(layers, InitialOutput(logits, boxes()))


def mapped(output: ModelOutput, change: Callable[[Tensor], Tensor]) -> ModelOutput:
    """The same output with every tensor [B, Q, ...] changed."""

    def decoder(part: DecoderOutput) -> DecoderOutput:
        assert part.initial.logits is not None
        return DecoderOutput(
            tuple(LayerOutput(change(x.logits), change(x.boxes), change(x.edge_logits)) for x in part.layers),
            InitialOutput(change(part.initial.logits), change(part.initial.boxes)),
        )

    normal, encoder = decoder(output), output.encoder
    encoder = EncoderOutput(change(encoder.logits), change(encoder.boxes), change(encoder.index))
    denoising = None if output.denoising is None else decoder(output.denoising)
    return ModelOutput(normal.layers, normal.initial, encoder, denoising)


def image(output: ModelOutput, targets: Targets, index: int) -> tuple[ModelOutput, Targets]:
    """One image of a batch."""
    begin, count = targets.offsets[index], targets.counts[index]
    part = slice(begin, begin + count)
    alone = Targets(targets.labels[part], targets.boxes[part], (count,))
    return mapped(output, lambda x: x[index : index + 1]), alone


def leaves(output: DecoderOutput) -> list[Tensor]:
    """What losses train in an output."""
    parts = [output.initial.logits, output.initial.boxes]
    for layer in output.layers:
        parts += [layer.logits, layer.boxes, layer.edge_logits]
    if isinstance(output, ModelOutput):
        parts += [output.encoder.logits, output.encoder.boxes]
        parts += [] if output.denoising is None else leaves(output.denoising)
    return [part for part in parts if part is not None]


def _logits(*shape: int, generator: Generator, dtype: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()
