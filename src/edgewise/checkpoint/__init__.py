"""Weights in and out: the waist of the house. Everything below loads from a Checkpoint alone."""

from edgewise.checkpoint.atomic import atomic_write, remove_unfinished
from edgewise.checkpoint.contents import Checkpoint, build, check_classes
from edgewise.checkpoint.own import check_own, is_own, save, store_calibration, store_thresholds
from edgewise.checkpoint.published import load_backbone
from edgewise.checkpoint.refs import SCENES, load
from edgewise.checkpoint.transformers import save_transformers

__all__ = [
    "SCENES",
    "Checkpoint",
    "atomic_write",
    "build",
    "check_classes",
    "check_own",
    "is_own",
    "load",
    "load_backbone",
    "remove_unfinished",
    "save",
    "save_transformers",
    "store_calibration",
    "store_thresholds",
]
