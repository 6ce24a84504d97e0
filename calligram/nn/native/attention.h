/* Norms, rotations, and attention of one query over the cache. */

#pragma once
#include "vectors.h"

#define MOST_VECTORS 32 /* of a head: widths up to 256 */

typedef struct {
    const float *weight, *bias; /* without a bias: RMSNorm */
    double eps;
} Norm;

static void normalise(const Norm *norm, const float *x, float *y, int64_t width) {
    v8 total = splat(0), squares = splat(0);
    float mean = 0;
    if (norm->bias) {
        for (int64_t i = 0; i < width; i += LANES) total += load(x + i);
        mean = sum(total) / width;
    }
    for (int64_t i = 0; i < width; i += LANES) {
        v8 d = load(x + i) - splat(mean);
        squares = fused(d, d, squares);
    }
    v8 scale = splat((float)(1.0 / sqrt((double)sum(squares) / width + norm->eps)));
    for (int64_t i = 0; i < width; i += LANES) {
        v8 value = (load(x + i) - splat(mean)) * scale * load(norm->weight + i);
        store(y + i, norm->bias ? value + load(norm->bias + i) : value);
    }
}

static void turn(float *x, const float *rotation, int64_t head_width) {
    for (int64_t i = 0; i < head_width; i += 2) {
        float a = x[i], b = x[i + 1], c = rotation[i], s = rotation[i + 1];
        x[i] = a * c - b * s;
        x[i + 1] = a * s + b * c;
    }
}

/* One query position of one group of heads over the keys from `skip` to `length` - 1. */
INLINE void attend(const int64_t K, int64_t heads, const float *q, const float *keys, const float *values,
                   int64_t skip, int64_t length, const uint8_t *sees, float *scores, int64_t capacity, float *out) {
    const float scale = 1.0f / sqrtf((float)K);
    const int64_t first = skip / LANES * LANES, end = (length + LANES - 1) / LANES * LANES;
    for (int64_t n = first; n < end; n += LANES) {
        const float *block = keys + n * K;
        for (int64_t h = 0; h < heads; h++) {
            const float *qh = q + h * K;
            v8 s0 = splat(0), s1 = splat(0);
            for (int64_t c = 0; c < K; c += 2) {
                s0 = fused(splat(qh[c]), load(block + c * LANES), s0);
                s1 = fused(splat(qh[c + 1]), load(block + (c + 1) * LANES), s1);
            }
            store(scores + h * capacity + n, (s0 + s1) * splat(scale));
        }
    }
    for (int64_t h = 0; h < heads; h++) {
        float *s = scores + h * capacity;
        float largest = -INFINITY;
        for (int64_t n = first; n < end; n++) {
            if (n < skip || n >= length || (sees && !sees[n])) s[n] = -INFINITY;
            largest = s[n] > largest ? s[n] : largest;
        }
        v8 total = splat(0);
        for (int64_t n = first; n < end; n += LANES) {
            v8 raw = load(s + n);
            v8 e = pick(raw == splat(-INFINITY), splat(0), exponential(raw - splat(largest)));
            store(s + n, e);
            total += e;
        }
        const float inverse = 1.0f / sum(total);
        float *o = out + h * K;
        v8 acc[MOST_VECTORS];
        for (int64_t c = 0; c < K / LANES; c++) acc[c] = splat(0);
        for (int64_t n = skip; n < length; n++) {
            if (sees && !sees[n]) continue;
            v8 p = splat(s[n]);
            for (int64_t c = 0; c < K / LANES; c++) acc[c] = fused(p, load(values + n * K + c * LANES), acc[c]);
        }
        for (int64_t c = 0; c < K / LANES; c++) store(o + c * LANES, acc[c] * splat(inverse));
    }
}

static void attend_group(int64_t K, int64_t heads, const float *q, const float *keys, const float *values, int64_t skip,
                         int64_t length, const uint8_t *sees, float *scores, int64_t capacity, float *out) {
    if (K == 64) attend(64, heads, q, keys, values, skip, length, sees, scores, capacity, out);
    else if (K == 32) attend(32, heads, q, keys, values, skip, length, sees, scores, capacity, out);
    else attend(K, heads, q, keys, values, skip, length, sees, scores, capacity, out);
}
