"""Object memory and object transformer (Cutie, sections 3.2 and 3.3): a few queries per object, which see the pixels
of its foreground or background, refine what pixel memory has read."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmem.networks.cutie.blocks import GatedResidualBlock, position_code
from xmem.networks.cutie.sizes import CutieSizes
from xmem.networks.xmem.decoder import aggregate

HEADS = 8
AREA_EPSILON = 1e-4


class ObjectSummarizer(nn.Module):
    """Pools each object's values into a summary of Q vectors: half of foreground, half of background."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        channels = sizes.channels
        self.input_proj = nn.Linear(channels, channels)
        self.feature_pred = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.weights_pred = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, sizes.queries))

    def forward(self, values: Tensor, masks: Tensor) -> Tensor:
        """values [B, O, C, h, w], masks [B, O, 16 h, 16 w] -> summaries float32 [B, O, Q, C + 1]: weighted sums of
        features over all positions, and the sums of the weights."""
        height, width = values.shape[-2:]
        masks = F.avg_pool2d(masks.float(), 16).flatten(2)[..., None]  # [B, O, h w, 1]
        tokens = self.input_proj(values.permute(0, 1, 3, 4, 2))  # [B, O, h, w, C]
        tokens = (tokens + position_code(height, width, tokens, tokens.shape[-1])).flatten(2, 3)
        features, logits = self.feature_pred(tokens).float(), self.weights_pred(tokens).float()
        half = logits.shape[-1] // 2
        sides = torch.cat([masks.expand(-1, -1, -1, half), (1 - masks).expand(-1, -1, -1, half)], 3)
        weights = (torch.sigmoid(logits) * sides).transpose(2, 3)  # [B, O, Q, h w]
        # sums over all positions do not fit a half-precision type
        with torch.autocast(weights.device.type, enabled=False):
            return torch.cat([weights @ features, weights.sum(3, keepdim=True)], 3)


class Attention(nn.Module):
    """Multi-head attention, its parameters named and laid out as torch's `MultiheadAttention` has them.

    Of a few queries and the many pixels, the few are brought into the other's space, before and after: matrices that
    all pixels would go through meet Q x heads rows in place of the pixels. The numbers are the same, but for rounding.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query [N, L, C], key, value [N, S, C] -> [N, L, C]."""
        q, k, v = (self._heads(part, i) for i, part in enumerate((query, key, value)))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def few_read_many(self, query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
        """`forward` with fewer queries than keys; seen: bool [N, L, S], which keys a query sees."""
        _, weight, value_weight = self._weights()  # [heads, C / heads, C]
        # a bias of the keys would add the same to all that a query compares
        projected = self._scale * self._heads(query, 0) @ weight  # [N, heads, L, C]
        scores = projected.flatten(1, 2) @ key.transpose(1, 2)  # [N, heads L, S]
        scores = scores.unflatten(1, (HEADS, -1)).masked_fill(~seen[:, None], float("-inf"))
        gathered = torch.softmax(scores, 3).flatten(1, 2) @ value  # [N, heads L, C]
        bias = self.in_proj_bias.chunk(3)[2].unflatten(0, (HEADS, 1, -1))
        out = gathered.unflatten(1, (HEADS, -1)) @ value_weight.transpose(1, 2) + bias  # [N, heads, L, C / heads]
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def many_read_few(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`forward` with more queries than keys."""
        weight, bias = self._weights()[0], self.in_proj_bias.chunk(3)[0].unflatten(0, (HEADS, -1, 1))
        keys, values = self._scale * self._heads(key, 1), self._heads(value, 2)  # [N, heads, S, C / heads]
        projected, offset = keys @ weight, (keys @ bias).flatten(1)  # [N, heads, S, C], [N, heads S]
        scores = query @ projected.flatten(1, 2).transpose(1, 2) + offset[:, None]  # [N, L, heads S]
        weights = torch.softmax(scores.unflatten(2, (HEADS, -1)), 3).flatten(2)
        out = self.out_proj.weight.unflatten(1, (HEADS, -1)).permute(1, 2, 0)  # [heads, C / heads, C]
        return weights @ (values @ out).flatten(1, 2) + self.out_proj.bias

    @property
    def _scale(self) -> float:
        return (self.out_proj.in_features // HEADS) ** -0.5

    def _weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of queries, keys and values, [heads, C / heads, C] each."""
        return tuple(weight.unflatten(0, (HEADS, -1)) for weight in self.in_proj_weight.chunk(3))

    def _heads(self, x: Tensor, part: int) -> Tensor:
        """[N, L, C] -> projected as queries (0), keys (1) or values (2), [N, heads, L, C / heads]."""
        projected = F.linear(x, self.in_proj_weight.chunk(3)[part], self.in_proj_bias.chunk(3)[part])
        return projected.unflatten(2, (HEADS, -1)).transpose(1, 2)


class ReadFromPixels(nn.Module):
    """Queries gather from the pixels that they may see; the residual is the normed query."""

    def __init__(self, channels: int):
        super().__init__()
        self.cross_attn = Attention(channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, query: Tensor, query_code: Tensor, pixel: Tensor, coded: Tensor, seen: Tensor) -> Tensor:
        x = self.norm(query)
        return x + self.cross_attn.few_read_many(x + query_code, coded, pixel, seen)


class SelfAttention(nn.Module):
    """An object's queries among themselves; the residual is the normed query."""

    def __init__(self, channels: int):
        super().__init__()
        self.self_attn = Attention(channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, query: Tensor, query_code: Tensor) -> Tensor:
        x = self.norm(query)
        return x + self.self_attn(x + query_code, x + query_code, x)


class FeedForward(nn.Module):
    """A hidden layer for each query; the residual is the query as it came."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, query: Tensor) -> Tensor:
        return query + self.linear2(F.relu(self.linear1(self.norm(query))))


class ReadFromQueries(nn.Module):
    """Pixels gather from their object's queries."""

    def __init__(self, channels: int):
        super().__init__()
        self.cross_attn = Attention(channels)

    def forward(self, pixel: Tensor, coded: Tensor, query: Tensor, query_code: Tensor) -> Tensor:
        return pixel + self.cross_attn.many_read_few(coded, query + query_code, query)


class PixelFeedForward(nn.Module):
    """Holds the pixels' residual block under the name that released weights use."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = GatedResidualBlock(channels)


class TransformerBlock(nn.Module):
    """Queries read from pixels, then pixels from queries. N objects, positions in rows."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        self.read_from_pixel = ReadFromPixels(sizes.channels)
        self.self_attn = SelfAttention(sizes.channels)
        self.ffn = FeedForward(sizes.channels, sizes.hidden)
        self.read_from_query = ReadFromQueries(sizes.channels)
        self.pixel_ffn = PixelFeedForward(sizes.channels)

    def forward(
        self, query: Tensor, query_code: Tensor, pixel: Tensor, pixel_code: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """query, query_code [N, Q, C], pixel [N, C, h, w], pixel_code [N, h w, C], seen [N, Q, h w]
        -> query, pixel."""
        tokens = pixel.flatten(2).transpose(1, 2)  # [N, h w, C]
        coded = tokens + pixel_code
        query = self.read_from_pixel(query, query_code, tokens, coded, seen)
        query = self.ffn(self.self_attn(query, query_code))
        tokens = self.read_from_query(tokens, coded, query, query_code)
        return query, self.pixel_ffn.conv(tokens.transpose(1, 2).unflatten(2, pixel.shape[-2:]))


class ObjectTransformer(nn.Module):
    """From what pixel memory has read to what the decoder takes, guided by each object's summary."""

    def __init__(self, sizes: CutieSizes):
        super().__init__()
        channels = sizes.channels
        self.query_init = nn.Embedding(sizes.queries, channels)
        self.query_emb = nn.Embedding(sizes.queries, channels)
        self.summary_to_query_init = nn.Linear(channels, channels)
        self.summary_to_query_emb = nn.Linear(channels, channels)
        self.pixel_init_proj = nn.Conv2d(channels, channels, 1)
        self.pixel_emb_proj = nn.Conv2d(channels, channels, 1)
        self.blocks = nn.ModuleList(TransformerBlock(sizes) for _ in range(sizes.blocks))
        heads = [nn.Sequential(nn.ReLU(), nn.Conv2d(channels, 1, 1)) for _ in range(sizes.blocks + 1)]
        self.mask_pred = nn.ModuleList(heads)

    def forward(self, fused: Tensor, summaries: Tensor) -> tuple[Tensor, Tensor]:
        """fused [B, O, C, h, w] and summaries [B, O, Q, C + 1] of objects that compete for positions
        -> pixel features [B, O, C, h, w], mask logits before and after each block [B, O, blocks + 1, h, w]."""
        shape, (height, width) = fused.shape[:2], fused.shape[-2:]
        summaries = summaries.flatten(0, 1).float()
        means = (summaries[..., :-1] / (summaries[..., -1:] + AREA_EPSILON)).to(fused.dtype)  # [N, Q, C]
        query = self.query_init.weight + self.summary_to_query_init(means)
        query_code = self.query_emb.weight + self.summary_to_query_emb(means)
        fused = fused.flatten(0, 1)
        pixel = self.pixel_init_proj(fused)
        pixel_code = self.pixel_emb_proj(fused).permute(0, 2, 3, 1)  # [N, h, w, C]
        pixel_code = (pixel_code + position_code(height, width, fused, fused.shape[1])).flatten(1, 2)
        logits = [self.mask_pred[0](pixel)]
        for block, head in zip(self.blocks, self.mask_pred[1:], strict=True):
            seen = visible(logits[-1].unflatten(0, shape)[:, :, 0], query.shape[1]).flatten(0, 1)
            query, pixel = block(query, query_code, pixel, pixel_code, seen)
            logits.append(head(pixel))
        return pixel.unflatten(0, shape), torch.cat(logits, 1).unflatten(0, shape)


def visible(logits: Tensor, queries: int) -> Tensor:
    """Mask logits [B, O, h, w] -> which positions each query may see, bool [B, O, Q, h w].

    The first half of the queries see the positions that are the object's, the others those that are not; one that
    would see none sees all.
    """
    odds = aggregate(torch.sigmoid(logits.float()))  # [B, O + 1, h, w]
    own = (odds[:, 1:] >= odds.amax(1, keepdim=True)).flatten(2)  # [B, O, h w]
    sides = torch.stack([own, ~own], 2)  # [B, O, 2, h w]
    sides = sides | ~sides.any(3, keepdim=True)
    return sides.repeat_interleave(queries // 2, 2)
