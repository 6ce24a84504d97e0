/* Eight numbers at a time, and functions of them. */

#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define LANES 8
#define INLINE static inline __attribute__((always_inline))
typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef int32_t i8 __attribute__((vector_size(32), aligned(4)));
typedef int8_t b8 __attribute__((vector_size(8), aligned(1)));
typedef uint16_t h8 __attribute__((vector_size(16), aligned(2)));

INLINE v8 splat(float x) { return (v8){x, x, x, x, x, x, x, x}; }
INLINE v8 load(const float *p) { return *(const v8 *)p; }
INLINE void store(float *p, v8 x) { *(v8 *)p = x; }

INLINE v8 pick(i8 mask, v8 yes, v8 no) { return (v8)((mask & (i8)yes) | (~mask & (i8)no)); }

/* a * b + c, rounded once. Written out, since a compiler that may fuse as it likes does so in one loop and not in another,
   and a row would depend on its batch; hence also -ffp-contract=off. */
INLINE v8 fused(v8 a, v8 b, v8 c) {
#if defined(__FMA__) && defined(__AVX2__)
    return (v8)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FP_FAST_FMAF)
    v8 out;
    for (int i = 0; i < LANES; i++) out[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return out;
#else
    return a * b + c;
#endif
}

INLINE float sum(v8 x) {
    return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

/* e^x to 2 units in the last place: 2^n times a polynomial (Cephes' expf) */
INLINE v8 exponential(v8 x) {
    x = pick(x < splat(-87.3f), splat(-87.3f), x);
    x = pick(x > splat(88.0f), splat(88.0f), x);
    v8 turns = x * splat(1.44269504088896341f);
    i8 n = __builtin_convertvector(turns + pick(turns < splat(0), splat(-0.5f), splat(0.5f)), i8);
    v8 whole = __builtin_convertvector(n, v8);
    x = x - whole * splat(0.693359375f) - whole * splat(-2.12194440e-4f);
    v8 p = splat(1.9875691500e-4f);
    p = fused(p, x, splat(1.3981999507e-3f));
    p = fused(p, x, splat(8.3334519073e-3f));
    p = fused(p, x, splat(4.1665795894e-2f));
    p = fused(p, x, splat(1.6666665459e-1f));
    p = fused(p, x, splat(5.0000001201e-1f));
    p = p * x * x + x + splat(1.0f);
    return p * (v8)((n + 127) << 23);
}

/* erf to 1.5e-7 (Abramowitz and Stegun 7.1.26) */
INLINE v8 error_function(v8 x) {
    v8 a = pick(x < splat(0), -x, x);
    v8 t = splat(1) / (splat(1) + splat(0.3275911f) * a);
    v8 p = splat(1.061405429f);
    p = fused(p, t, splat(-1.453152027f));
    p = fused(p, t, splat(1.421413741f));
    p = fused(p, t, splat(-0.284496736f));
    p = fused(p, t, splat(0.254829592f));
    v8 y = splat(1) - p * t * exponential(-a * a);
    return pick(x < splat(0), -y, y);
}

enum { GELU = 0, QUICK_GELU = 1, GELU_TANH = 2, SILU = 3 };

INLINE v8 activate(v8 x, int64_t kind) {
    if (kind == GELU) return splat(0.5f) * x * (splat(1) + error_function(x * splat(0.70710678118654752f)));
    v8 z = x; /* the others are x times the sigmoid of z */
    if (kind == QUICK_GELU) z = splat(1.702f) * x;
    if (kind == GELU_TANH) z = splat(1.5957691216057308f) * (x + splat(0.044715f) * x * x * x);
    return x / (splat(1) + exponential(-z));
}
