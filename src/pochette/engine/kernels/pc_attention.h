/* softmax(q k^T scale + mask) v of one head, a query after the other. */
#ifndef PC_ATTENTION_H
#define PC_ATTENTION_H
#include "pc_multiply.h"
#include "pc_softmax.h"

/* q: (queries, width), k: (keys, width), v: (keys, depth), y: (queries, depth). added, allowed: (queries, keys) of
   numbers added to the scores, or of flags, 0 where a key must not be attended to; or null. A causal query sees the keys
   up to its own number. A query that sees no key gets zeros. scores: scratch of `keys` floats. */
PC_KERNEL void pc_attention(float *y, const float *q, const float *k, const float *v, const float *added,
                            const float *allowed, int queries, int keys, int width, int depth, float scale, int causal,
                            float *scores)
{
    for (int t = 0; t < queries; t++, q += width, y += depth) {
        const int seen = causal && t + 1 < keys ? t + 1 : keys;
        float total = 0.0f;
        for (int s = 0; s < seen; s++) scores[s] = pc_inner(q, k + s * width, width) * scale;
        if (added) for (int s = 0; s < seen; s++) scores[s] += added[t * keys + s];
        if (allowed)
            for (int s = 0; s < seen; s++) scores[s] = allowed[t * keys + s] != 0.0f ? scores[s] : -3.0e38f;
        const float top = pc_largest_of_row(scores, seen);
        for (int s = 0; s < seen; s++) scores[s] = pc_exp(scores[s] - top);
        if (allowed) for (int s = 0; s < seen; s++) scores[s] *= allowed[t * keys + s];
        total = pc_sum_of_row(scores, seen);
        total = total > 0.0f ? 1.0f / total : 0.0f;
        for (int i = 0; i < depth; i++) y[i] = 0.0f;
        for (int s = 0; s < seen; s++) {
            const float weight = scores[s] * total;
            for (int i = 0; i < depth; i++) y[i] += weight * v[s * depth + i];
        }
    }
}

#endif
