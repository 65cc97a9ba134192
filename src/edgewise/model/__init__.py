"""The network."""

from edgewise.model.dfine import DFine as DFine
