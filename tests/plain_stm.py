"""STM's stepping written out plainly (released evaluation): every frame memorised before the next one is segmented."""

import torch
import torch.nn.functional as F
from plain_steps import log_odds, one_hot, padded, unpadded

MEAN, STD = (torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def _image(frame):
    """Padded before it is normalised."""
    return (padded(torch.from_numpy(frame).permute(2, 0, 1)[None] / 255) - MEAN) / STD


@torch.inference_mode()
def plain_stm(network, frames, mask, mem_every=5, channels=11):
    """frames: uint8 [H, W, 3] each; mask: index mask of frame 0 -> probabilities [O + 1, H, W] of each frame, and the
    elements of each object that frame T - 1 read."""
    ids = sorted({int(i) for i in mask.flatten() if i})
    objects = one_hot(mask, ids)
    prob = torch.cat([(1 - objects.sum(0))[None], objects])
    answers, kept_keys, kept_values, elements = [prob], [], [], 0
    image = _image(frames[0])
    for t, frame in enumerate(frames[1:], start=1):
        new_keys, new_values = network.encode_memory(image, padded(prob[None, 1:]))  # [1, O, C, h, w]
        image = _image(frame)
        query, features = network.encode_query(image)
        keys = torch.cat([*kept_keys, new_keys[0].flatten(2)], 2)  # [O, C_k, N]
        values = torch.cat([*kept_values, new_values[0].flatten(2)], 2)
        weights = (keys.transpose(1, 2) @ query[0].flatten(1) / len(query[0]) ** 0.5).softmax(1)
        readout = (values @ weights).unflatten(2, query.shape[-2:])[None]
        logits = network.decode(network.image_part(features), readout)[0]
        odds = log_odds(F.pad(torch.sigmoid(logits), (0, 0, 0, 0, 0, channels - 1 - len(ids))))
        prob = unpadded(odds, frame.shape[:2]).softmax(0)[: 1 + len(ids)]
        answers.append(prob)
        elements = keys.shape[2]
        if (t - 1) % mem_every == 0:
            kept_keys.append(new_keys[0].flatten(2)), kept_values.append(new_values[0].flatten(2))
    return answers, elements
