"""The sizes that tell one XMem checkpoint from another, read off its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xmem.errors import InputError


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a network; the field's symbols in brackets.

    encoder: "resnet" (ResNet-50 for keys, ResNet-18 for values: the released models) or "lite" (EfficientNet-lite0).
    key_channels (C_k), value_channels (C_v), sensory_channels (C_h; 0 = no sensory memory).
    decoder_channels: widths of the decoder at strides 16, 8 and 4.
    update_channels: width in which the three strides meet before the sensory update.
    shortcut_kernel: kernel of the residual blocks' shortcut convolutions, 3 or 1.
    """

    encoder: str
    key_channels: int
    value_channels: int
    sensory_channels: int
    decoder_channels: tuple[int, int, int]
    update_channels: int
    shortcut_kernel: int

    @staticmethod
    def of(state: Mapping) -> ModelSizes:
        """Read the sizes off a state dict (names -> tensors or arrays).

        Raises InputError where the weights are not those of an XMem network.
        """

        def rows(name: str) -> int:
            if name not in state or len(state[name].shape) == 0:
                raise InputError(
                    f"These weights are not an XMem checkpoint ('{name}' is missing): choose a file of an XMem network."
                )
            return int(state[name].shape[0])

        has_sensory = "decoder.hidden_update.transform.weight" in state
        sensory = rows("decoder.hidden_update.transform.weight") // 3 if has_sensory else 0
        rows("decoder.fuser.block1.downsample.weight")
        return ModelSizes(
            encoder="lite" if "key_encoder.stem.0.weight" in state else "resnet",
            key_channels=rows("key_proj.key_proj.weight"),
            value_channels=rows("value_encoder.fuser.block2.conv2.weight"),
            sensory_channels=sensory,
            decoder_channels=(
                rows("decoder.fuser.block2.conv2.weight"),
                rows("decoder.up_16_8.out_conv.conv2.weight"),
                rows("decoder.up_8_4.out_conv.conv2.weight"),
            ),
            update_channels=rows("decoder.hidden_update.g16_conv.weight") if has_sensory else 256,
            shortcut_kernel=int(state["decoder.fuser.block1.downsample.weight"].shape[-1]),
        )


def xmem_sizes(sensory_channels: int = 64) -> ModelSizes:
    """Sizes of the released XMem networks (62 million parameters)."""
    return ModelSizes("resnet", 64, 512, sensory_channels, (512, 256, 256), 256, 3)


def lite_sizes() -> ModelSizes:
    """Sizes of the embedded xmem-lite."""
    return ModelSizes("lite", 64, 128, 32, (96, 48, 32), 64, 1)
