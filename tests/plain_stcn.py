"""STCN's stepping written out plainly (released evaluation, both paths): dense affinities, every frame held."""

import torch
from plain_steps import aggregate, one_hot, padded, unpadded

MEAN, STD = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))


class PlainBank:
    """One object's memory: frames of keys [C_k, HW] and values [C_v, HW]; the last may be temporary."""

    def __init__(self):
        self.keys, self.values, self.temporary = [], [], False

    def add(self, key, value, temporary=False):
        if self.temporary:
            self.keys.pop(), self.values.pop()
        self.keys.append(key), self.values.append(value)
        self.temporary = temporary

    def read(self, query, top_k):
        keys, values = torch.cat(self.keys, 1), torch.cat(self.values, 1)
        similarity = (2 * keys.T @ query - keys.square().sum(0)[:, None]) / len(query) ** 0.5  # [N, HW]
        best = similarity.topk(min(top_k, len(similarity)), 0)
        weights = torch.zeros_like(similarity).scatter_(0, best.indices, best.values.softmax(0))
        return values @ weights

    @property
    def elements(self):
        return sum(key.shape[1] for key in self.keys)


@torch.inference_mode()
def plain_stcn(network, frames, masks, mem_every=5, top_k=20, include_last=False):
    """frames: uint8 [H, W, 3] each; masks: {frame number: index mask} -> probabilities [O + 1, H, W] of each frame from
    the first mask on, channels by id, and each object's elements at the end."""
    ids = sorted({int(i) for mask in masks.values() for i in mask.flatten() if i})
    active, banks, answers, last = [], {}, {}, None
    for t, frame in enumerate(frames):
        if t < min(masks):
            continue
        image = padded(((torch.from_numpy(frame) / 255 - MEAN) / STD).permute(2, 0, 1)[None])
        key, features = network.encode_key(image)
        prob = torch.zeros(len(ids) + 1, *image.shape[-2:])
        if active:
            readout = torch.stack([banks[i].read(key[0].flatten(1), top_k) for i in active])
            readout = readout.unflatten(2, key.shape[-2:])[None]
            logits = network.decode(network.image_part(features), readout)
            prob[[0, *(1 + ids.index(i) for i in active)]] = aggregate(torch.sigmoid(logits[0]))
        if t in masks:
            given = sorted({int(i) for i in masks[t].flatten() if i})
            own = padded(one_hot(masks[t], given))
            prob[:, own.sum(0) > 0.5] = 0
            prob[[1 + ids.index(i) for i in given]] = own
            prob = aggregate(prob[1:])
            active = active + [i for i in given if i not in active]
        answers[t] = unpadded(prob, frame.shape[:2])
        due = t in masks or t - last >= mem_every
        if t < len(frames) - 1 and (due or include_last):
            own = prob[[1 + ids.index(i) for i in active]][None]
            values = network.encode_value(image, features[0], own)[0]
            for i, value in zip(active, values, strict=True):
                banks.setdefault(i, PlainBank()).add(key[0].flatten(1), value.flatten(1), temporary=not due)
            last = t if due else last
    return answers, [banks[i].elements for i in ids]
