"""D-FINE (arXiv 2410.13842): backbone, encoder, decoder."""

import copy
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from edgewise.config import ModelConfig
from edgewise.model.backbone import Backbone
from edgewise.model.decoder import Decoder
from edgewise.model.encoder import Encoder
from edgewise.model.fused import fold_norms
from edgewise.sizes import check_size
from edgewise.structures import DenoisingQueries, ModelOutput


class DFine(nn.Module):
    """A detector: images in, every layer's logits, boxes and edge distributions out.

    Fresh weights follow torch's global generator. Names of the state dict are the published ones.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        height, width = config.size
        sizes = tuple((height // stride, width // stride) for stride in config.backbone.strides)
        self.backbone = Backbone(config.backbone)
        self.decoder = Decoder(config.decoder, config.num_classes, config.encoder.dim, sizes)
        self.encoder = Encoder(config.encoder, config.backbone.out_channels)

    def forward(
        self, images: Float[Tensor, "B 3 H W"], denoising: DenoisingQueries | None = None
    ) -> ModelOutput:
        """Images are RGB in [0, 1], of any size whose sides are multiples of 32 (ValueError otherwise)."""
        return self.decoder(self.maps(images), denoising)  # type: ignore[no-any-return]

    def maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """What the decoder reads of the images, fine to coarse: [B, D, H / stride, W / stride]."""
        check_size((images.shape[2], images.shape[3]))
        images = images.contiguous(memory_format=torch.channels_last)  # all maps follow: faster
        return self.encoder(self.backbone(images))  # type: ignore[no-any-return]

    def set_recompute(self, on: bool) -> None:
        """Gradient checkpointing: less memory in training for more time, the same gradients."""
        for part in (self.backbone, self.encoder, self.decoder):
            part.recompute = on

    def at(self, layers: int | None = None, queries: int | None = None, exit: float | None = None) -> "DFine":
        """A smaller model with the weights of this one, a new module: what this has after so many layers.

        `layers` keeps the first ones, `queries` the best ones of the encoder. With `exit` it stops on its own
        as soon as no sure edge's distribution changes by so many nats from layer to layer (`model.anytime`),
        in evaluation: each image if they come one by one, else when all of a batch have settled. What is not
        given stays as it is. ValueError for what this model has not.
        """
        model = copy.deepcopy(self)
        model.decoder.cut(layers, queries, exit)
        model.config = self.config.model_copy(update={"decoder": model.decoder.config})
        return model

    def fused(self, layers: Literal["last", "all"] = "last") -> "DFine":
        """The inference form, a new module: norms folded, parts that only train dropped; same outputs.

        Its output has the last layer alone, or with "all" every layer; initial logits are None. That of the
        last layer needs all of them: it does not stop early.
        """
        device = next(self.parameters()).device
        if self.decoder.denoising_class_embed is None:
            raise ValueError("this is an inference form already; call fused() on the model it came from")
        model = copy.deepcopy(self).eval().requires_grad_(False).cpu()  # mps has no float64 to fold in
        fold_norms(model)
        model.decoder.drop_training_parts(keep=1 if layers == "last" else self.config.decoder.num_layers)
        return model.to(device)
