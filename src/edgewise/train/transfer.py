"""Carrying weights over to a model with other classes."""

from collections.abc import Sequence

from torch import nn

CLASS_TENSORS = ("denoising_class_embed", "enc_score_head", "dec_score_head")


def transfer(source: nn.Module, target: nn.Module, old: Sequence[str], new: Sequence[str]) -> tuple[str, ...]:
    """Copies the weights of `source` into `target`, whose classes may differ; returns the classes copied.

    Tensors with a row per class are copied row by row where a class of `new` has the name of one of `old`;
    the other rows keep what `target` began with. All other tensors must have equal names and shapes.
    """
    shared = [name for name in new if name in old]
    rows_from, rows_to = [old.index(n) for n in shared], [new.index(n) for n in shared]
    begun = target.state_dict()
    weights = source.state_dict()
    for key in weights:
        if any(name in key for name in CLASS_TENSORS):
            rows = begun[key].clone()
            rows[rows_to] = weights[key][rows_from].to(rows)
            weights[key] = rows
    target.load_state_dict(weights)
    return tuple(shared)
