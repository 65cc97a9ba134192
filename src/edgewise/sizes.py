"""Which sizes a model takes. No torch."""

STRIDE = 32  # of the coarsest feature map: both sides of an image are multiples of it

Size = int | tuple[int, int]  # one side, or (height, width)


def pair(size: Size) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else size


def check_size(size: tuple[int, int]) -> tuple[int, int]:
    """`size` if both sides are positive multiples of 32; ValueError names the nearest sizes that are."""
    for side in size:
        if side < STRIDE or side % STRIDE:
            low = max(STRIDE, side // STRIDE * STRIDE)
            raise ValueError(
                f"size {size[0]}x{size[1]} (height x width): {side} is not a positive multiple of {STRIDE}; "
                f"use {low} or {low + STRIDE}"
            )
    return size
