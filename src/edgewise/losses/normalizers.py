"""What the sums of a step are divided by: counts of the whole step, however it was divided up."""

from dataclasses import astuple, dataclass

from edgewise.losses.distillation import matched_emphasis
from edgewise.losses.matching import Matching
from edgewise.structures import Matches, ModelOutput, Targets


@dataclass(frozen=True)
class Normalizers:
    """Counts of a batch, which add up over the passes and the processes of a step: `a + b`.

    Losses made with the counts of the whole step add up to the loss of the whole step. Those that are known
    before the forward are `boxes` and `noised_pairs`; the others follow from the matching. `astuple` and
    `Normalizers(*numbers)` are the way through a collective and back.
    """

    boxes: int  # targets
    pairs: int  # of `matching.union`, so matched queries
    others: int  # queries in no pair
    noised_pairs: int  # denoising positives
    noised_others: int  # denoising negatives and padding

    @classmethod
    def of(
        cls, output: ModelOutput, targets: Targets, matching: Matching, positives: Matches | None = None
    ) -> "Normalizers":
        """The counts of one batch; `positives` match its denoising queries, if it has any."""
        pairs, noised_pairs = len(matching.union), 0 if positives is None else len(positives)
        noised = 0 if output.denoising is None else output.denoising.logits.shape[:2].numel()
        return cls(
            boxes=len(targets.labels),
            pairs=pairs,
            others=output.logits.shape[:2].numel() - pairs,
            noised_pairs=noised_pairs,
            noised_others=noised - noised_pairs,
        )

    def __add__(self, more: "Normalizers") -> "Normalizers":
        return Normalizers(*(a + b for a, b in zip(astuple(self), astuple(more), strict=True)))

    @property
    def emphasis(self) -> float:
        """How much of DDF the matched queries are; of the denoising queries too."""
        return matched_emphasis(self.pairs, self.others)
