/* Norms, rotations, and attention of one query over the cache. */

#pragma once
#include "vectors.h"

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

/* Scores of four heads over sixteen keys, or eight. Each sum is in a register of its own and has one order. */
INLINE void scores_of_four(const int64_t K, const int wide, const float *q, const float *keys, v8 scale, float *scores,
                           int64_t capacity) {
    const float *others = keys + K * LANES;
    v8 a = splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (int64_t i = 0; i < K; i++) {
        const v8 near = load(keys + i * LANES), far = wide ? load(others + i * LANES) : near;
        v8 x = splat(q[i]);
        a = fused(x, near, a);
        if (wide) e = fused(x, far, e);
        x = splat(q[K + i]);
        b = fused(x, near, b);
        if (wide) f = fused(x, far, f);
        x = splat(q[2 * K + i]);
        c = fused(x, near, c);
        if (wide) g = fused(x, far, g);
        x = splat(q[3 * K + i]);
        d = fused(x, near, d);
        if (wide) h = fused(x, far, h);
    }
    store(scores, a * scale);
    store(scores + capacity, b * scale);
    store(scores + 2 * capacity, c * scale);
    store(scores + 3 * capacity, d * scale);
    if (!wide) return;
    store(scores + LANES, e * scale);
    store(scores + capacity + LANES, f * scale);
    store(scores + 2 * capacity + LANES, g * scale);
    store(scores + 3 * capacity + LANES, h * scale);
}

/* Of one head over eight keys */
INLINE void scores_of_one(const int64_t K, const float *q, const float *keys, v8 scale, float *scores) {
    v8 even = splat(0), odd = splat(0);
    for (int64_t c = 0; c < K; c += 2) {
        even = fused(splat(q[c]), load(keys + c * LANES), even);
        odd = fused(splat(q[c + 1]), load(keys + (c + 1) * LANES), odd);
    }
    store(scores, (even + odd) * scale);
}

/* Powers of e of the scores, 0 for what is not seen; one over their sum */
INLINE float to_powers(float *s, int64_t skip, int64_t length, const uint8_t *sees) {
    const int64_t first = skip / LANES * LANES, end = (length + LANES - 1) / LANES * LANES;
    for (int64_t n = first; n < skip; n++) s[n] = -INFINITY;
    for (int64_t n = length; n < end; n++) s[n] = -INFINITY;
    if (sees)
        for (int64_t n = skip; n < length; n++)
            if (!sees[n]) s[n] = -INFINITY;
    v8 most = load(s + first), total = splat(0);
    for (int64_t n = first + LANES; n < end; n += LANES) most = pick(load(s + n) > most, load(s + n), most);
    float largest = most[0];
    for (int i = 1; i < LANES; i++) largest = most[i] > largest ? most[i] : largest;
    for (int64_t n = first; n < end; n += LANES) {
        v8 raw = load(s + n);
        v8 e = pick(raw == splat(-INFINITY), splat(0), exponential(raw - splat(largest)));
        store(s + n, e);
        total += e;
    }
    return 1.0f / sum(total);
}

#define AHEAD 12 /* tokens */

/* Sixteen channels of four heads' mean of the values */
INLINE void mean_of_four(const int64_t K, const int ahead, const float *values, int64_t skip, int64_t length,
                         const uint8_t *sees, const float *p, int64_t capacity, const float *inverse, float *out) {
    v8 a = splat(0), b = a, c = a, d = a, e = a, f = a, g = a, h = a;
    for (int64_t n = skip; n < length; n++) {
        if (sees && !sees[n]) continue;
        /* the first channels wait for memory: let the others of these tokens come along */
        if (ahead)
            for (int64_t c = 0; c < K; c += 64 / sizeof(float)) __builtin_prefetch(values + (n + AHEAD) * K + c);
        const v8 left = load(values + n * K), right = load(values + n * K + LANES);
        v8 x = splat(p[n]);
        a = fused(x, left, a);
        e = fused(x, right, e);
        x = splat(p[capacity + n]);
        b = fused(x, left, b);
        f = fused(x, right, f);
        x = splat(p[2 * capacity + n]);
        c = fused(x, left, c);
        g = fused(x, right, g);
        x = splat(p[3 * capacity + n]);
        d = fused(x, left, d);
        h = fused(x, right, h);
    }
    store(out, a * splat(inverse[0]));
    store(out + LANES, e * splat(inverse[0]));
    store(out + K, b * splat(inverse[1]));
    store(out + K + LANES, f * splat(inverse[1]));
    store(out + 2 * K, c * splat(inverse[2]));
    store(out + 2 * K + LANES, g * splat(inverse[2]));
    store(out + 3 * K, d * splat(inverse[3]));
    store(out + 3 * K + LANES, h * splat(inverse[3]));
}

/* Of one head, 32 channels or 8 */
INLINE void mean_of_one(const int64_t K, const int wide, const float *values, int64_t skip, int64_t length,
                        const uint8_t *sees, const float *p, float inverse, float *out) {
    v8 a = splat(0), b = a, c = a, d = a;
    for (int64_t n = skip; n < length; n++) {
        if (sees && !sees[n]) continue;
        const float *v = values + n * K;
        const v8 x = splat(p[n]);
        a = fused(x, load(v), a);
        if (!wide) continue;
        b = fused(x, load(v + LANES), b);
        c = fused(x, load(v + 2 * LANES), c);
        d = fused(x, load(v + 3 * LANES), d);
    }
    store(out, a * splat(inverse));
    if (!wide) return;
    store(out + LANES, b * splat(inverse));
    store(out + 2 * LANES, c * splat(inverse));
    store(out + 3 * LANES, d * splat(inverse));
}

/* One query position of one group of heads over the keys from `skip` to `length` - 1. Four heads at a time share what is
   read of keys and values. */
INLINE void attend(const int64_t K, int64_t heads, const float *q, const float *keys, const float *values,
                   int64_t skip, int64_t length, const uint8_t *sees, float *scores, int64_t capacity, float *out) {
    const v8 scale = splat(1.0f / sqrtf((float)K));
    const int64_t end = (length + LANES - 1) / LANES * LANES;
    int64_t h = 0;
    for (; h + 4 <= heads; h += 4) {
        const float *four = q + h * K;
        int64_t n = skip / LANES * LANES, c = 0;
        for (; n + 2 * LANES <= end; n += 2 * LANES) scores_of_four(K, 1, four, keys + n * K, scale, scores + n, capacity);
        for (; n < end; n += LANES) scores_of_four(K, 0, four, keys + n * K, scale, scores + n, capacity);
        float inverse[4];
        for (int i = 0; i < 4; i++) inverse[i] = to_powers(scores + i * capacity, skip, length, sees);
        if (K >= 2 * LANES) {
            mean_of_four(K, 1, values, skip, length, sees, scores, capacity, inverse, out + h * K);
            c = 2 * LANES;
        }
        for (; c + 2 * LANES <= K; c += 2 * LANES)
            mean_of_four(K, 0, values + c, skip, length, sees, scores, capacity, inverse, out + h * K + c);
        for (; c < K; c += LANES)
            for (int i = 0; i < 4; i++)
                mean_of_one(K, 0, values + c, skip, length, sees, scores + i * capacity, inverse[i], out + (h + i) * K + c);
    }
    for (; h < heads; h++) {
        int64_t c = 0;
        for (int64_t n = skip / LANES * LANES; n < end; n += LANES) scores_of_one(K, q + h * K, keys + n * K, scale, scores + n);
        const float inverse = to_powers(scores, skip, length, sees);
        for (; c + 4 * LANES <= K; c += 4 * LANES)
            mean_of_one(K, 1, values + c, skip, length, sees, scores, inverse, out + h * K + c);
        for (; c < K; c += LANES) mean_of_one(K, 0, values + c, skip, length, sees, scores, inverse, out + h * K + c);
    }
}

static void attend_group(int64_t K, int64_t heads, const float *q, const float *keys, const float *values, int64_t skip,
                         int64_t length, const uint8_t *sees, float *scores, int64_t capacity, float *out) {
    if (K == 64) attend(64, heads, q, keys, values, skip, length, sees, scores, capacity, out);
    else if (K == 32) attend(32, heads, q, keys, values, skip, length, sees, scores, capacity, out);
    else attend(K, heads, q, keys, values, skip, length, sees, scores, capacity, out);
}
