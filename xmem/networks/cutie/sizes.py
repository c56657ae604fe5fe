"""The sizes of a Cutie network, read off its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xmem.errors import InputError


@dataclass(frozen=True)
class CutieSizes:
    """Sizes of a network; those of the released base model as defaults.

    encoder: "resnet50" (base) or "resnet18" (small) for the image.
    channels (C): of image features, values, sensory memory and embeddings alike; key_channels (C_k).
    queries (Q): object queries, half of them for the foreground. blocks: of the object transformer; hidden: width of
    their feed-forward layers.
    decoder_channels: widths of the decoder at strides 16, 8 and 4.
    """

    encoder: str = "resnet50"
    channels: int = 256
    key_channels: int = 64
    queries: int = 16
    blocks: int = 3
    hidden: int = 2048
    decoder_channels: tuple[int, int, int] = (256, 128, 128)

    @staticmethod
    def of(state: Mapping) -> CutieSizes:
        """Read the sizes off a state dict (names -> tensors or arrays).

        Raises InputError where the weights are not those of a Cutie network.
        """

        def rows(name: str) -> int:
            if name not in state or len(state[name].shape) == 0:
                raise InputError(
                    f"These weights are not a Cutie checkpoint ('{name}' is missing): choose a file of a Cutie network."
                )
            return int(state[name].shape[0])

        channels = rows("pix_feat_proj.weight")
        blocks = 0
        while f"object_transformer.blocks.{blocks}.ffn.linear1.weight" in state:
            blocks += 1
        return CutieSizes(
            encoder="resnet50" if "pixel_encoder.res2.0.conv3.weight" in state else "resnet18",
            channels=channels,
            key_channels=rows("key_proj.key_proj.weight"),
            queries=rows("object_transformer.query_init.weight"),
            blocks=blocks,
            hidden=rows("object_transformer.blocks.0.ffn.linear1.weight"),
            decoder_channels=(
                channels,
                rows("mask_decoder.up_16_8.out_conv.conv2.weight"),
                rows("mask_decoder.up_8_4.out_conv.conv2.weight"),
            ),
        )
