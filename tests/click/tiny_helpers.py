"""Small networks of random weights of the library `transformers`, in folders with the files that the Hub has."""

import json
from pathlib import Path

import pytest
import torch

SIDE = 64  # pixels of what they see
WORDS = ("a", "red", "car", "disc")


def write_sam2(folder: Path) -> Path:
    """As `facebook/sam2.1-hiera-tiny`: saved by the network for videos, with its processor."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    backbone = {
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [SIDE, SIDE],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 4],
        "window_size_per_stage": [4, 2, 2, 2],
        "window_positional_embedding_background_size": [2, 2],
        "global_attention_blocks": [3],
        "model_type": "sam2_hiera_det_model",
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[SIDE // stride] * 2 for stride in (4, 8, 16)],
        "fpn_hidden_size": 32,
        "model_type": "sam2_vision_model",
    }
    config = transformers.Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 32,
            "num_attention_heads": 2,
            "mlp_dim": 32,
            "iou_head_hidden_dim": 32,
            "attention_downsample_rate": 2,
        },
        image_size=SIDE,
        memory_attention_hidden_size=32,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[SIDE // 16] * 2,
        memory_encoder_hidden_size=32,
        memory_encoder_output_channels=16,
        mask_downsampler_embed_dim=32,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=32,
        memory_fuser_intermediate_dim=32,
    )
    transformers.Sam2VideoModel(config).save_pretrained(folder)
    _write(
        folder / "processor_config.json", point_pad_value=-10, processor_class="Sam2VideoProcessor", target_size=SIDE
    )
    _write(
        folder / "preprocessor_config.json",
        **_normal(SIDE),
        image_processor_type="Sam2ImageProcessorFast",
        processor_class="Sam2VideoProcessor",
        mask_size={"height": SIDE // 4, "width": SIDE // 4},
    )
    return folder


def write_clipseg(folder: Path) -> Path:
    """As `CIDAS/clipseg-rd64-refined`, with a vocabulary of letters."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = ["!", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    end = len(tokens) - 1
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = transformers.CLIPSegConfig(
        text_config={
            **layers,
            "vocab_size": len(tokens),
            "max_position_embeddings": 20,
            "eos_token_id": end,
            "bos_token_id": end - 1,
            "pad_token_id": end,
        },
        vision_config={**layers, "image_size": SIDE, "patch_size": 16},
        projection_dim=16,
        extract_layers=[0, 1, 2],
        reduce_dim=16,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        conditional_layer=0,
        use_complex_transposed_convolution=True,
    )
    transformers.CLIPSegForImageSegmentation(config).save_pretrained(folder)
    marks = {"bos_token": tokens[-2], "eos_token": tokens[-1], "unk_token": tokens[-1], "pad_token": tokens[-1]}
    _write(folder / "vocab.json", **{token: number for number, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n")
    _write(folder / "special_tokens_map.json", **marks)
    _write(folder / "tokenizer_config.json", **marks, tokenizer_class="CLIPTokenizer", model_max_length=77)
    _write(
        folder / "preprocessor_config.json",
        **_normal(SIDE),
        image_processor_type="ViTImageProcessor",
        processor_class="CLIPSegProcessor",
    )
    return folder


def _normal(side: int) -> dict:
    return {
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"height": side, "width": side},
    }


def _write(path: Path, **values) -> None:
    path.write_text(json.dumps(values))
