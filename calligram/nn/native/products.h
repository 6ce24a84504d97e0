/* Matrices in fp32, bf16 or int8, and their products with rows of fp32. */

#pragma once
#include "vectors.h"

enum { FP32 = 0, BF16 = 1, INT8 = 2 };

typedef struct {
    const void *weight;
    const float *scale, *bias;
    int64_t rows, columns, kind;
} Matrix;

/* Eight weights as fp32. */
INLINE v8 weights(const void *w, int64_t at, int kind) {
    if (kind == FP32) return load((const float *)w + at);
    const int8_t *bytes = (const int8_t *)w + at;
    const uint16_t *halves = (const uint16_t *)w + at;
#ifdef __AVX2__
    if (kind == INT8) return (v8)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)bytes)));
    return (v8)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)halves)), 16);
#else
    if (kind == INT8) return __builtin_convertvector(*(const b8 *)bytes, v8);
    return (v8)(__builtin_convertvector(*(const h8 *)halves, i8) << 16);
#endif
}

/* y[r][n] = scale[n] * sum over k of x[r][k] w[n][k] + bias[n] for R x N of them */
INLINE void tile(const int R, const int N, const int kind, const Matrix *m, int64_t first, const float *x, float *y,
                 int64_t y_stride, const int add, int ahead) {
    const int64_t columns = m->columns;
    v8 acc[4][8]; /* R x N of them, which all stay in registers */
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int n = 0; n < N; n++) acc[r][n] = splat(0);
    const int64_t size = kind == INT8 ? 1 : kind == BF16 ? 2 : 4, line = 64 / size;
    const char *next = (const char *)m->weight + (first + N) * columns * size;
    for (int64_t k = 0; k < columns; k += LANES) {
        v8 w[8];
        /* The first to read a strip of weights waits for memory: a matrix' rows are too short for the processor to see
           where they go on. */
        if (ahead && k % line == 0)
#pragma GCC unroll 8
            for (int n = 0; n < N; n++) __builtin_prefetch(next + (n * columns + k) * size);
#pragma GCC unroll 8
        for (int n = 0; n < N; n++) w[n] = weights(m->weight, (first + n) * columns + k, kind);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            v8 xr = load(x + r * columns + k);
#pragma GCC unroll 8
            for (int n = 0; n < N; n++) acc[r][n] = fused(xr, w[n], acc[r][n]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int n = 0; n < N; n++) {
            float total = sum(acc[r][n]);
            if (kind == INT8) total *= m->scale[first + n];
            if (m->bias) total += m->bias[first + n];
            float *out = y + r * y_stride + first + n;
            *out = add ? *out + total : total;
        }
}

/* Rows in blocks whose activations stay in the second-level cache, so that a batch reads the matrix once a block. */
#define ROWS 64

#define STRIP 24

/* N outputs, a divisor of STRIP, of R rows at a time, until a strip is done */
#define STRIP_OF(R, N) \
    for (int64_t i = 0; i < STRIP; i += N) tile(R, N, kind, m, n + i, x + r * c, y + r * y_stride, y_stride, add, r == first)
#define SINGLE_OF(R) tile(R, 1, kind, m, n, x + r * c, y + r * y_stride, y_stride, add, 0)

INLINE void product_of_kind(const int kind, const Matrix *m, int64_t from, int64_t to, const float *x, int64_t rows,
                            float *y, int64_t y_stride, const int add) {
    const int64_t c = m->columns;
    for (int64_t first = 0; first < rows; first += ROWS) {
        const int64_t last = first + ROWS < rows ? first + ROWS : rows;
        int64_t n = from, r;
        for (; n + STRIP <= to; n += STRIP) {
            for (r = first; r + 4 <= last; r += 4) STRIP_OF(4, 3);
            if (last - r == 3) STRIP_OF(3, 4);
            if (last - r == 2) STRIP_OF(2, 4);
            if (last - r == 1) STRIP_OF(1, 8);
        }
        for (; n < to; n++) {
            for (r = first; r + 4 <= last; r += 4) SINGLE_OF(4);
            for (; r < last; r++) SINGLE_OF(1);
        }
    }
}

static void product(const Matrix *m, int64_t from, int64_t to, const float *x, int64_t rows, float *y, int64_t y_stride,
                    int add) {
#define CASE(KIND) \
    if (m->kind == KIND && add) product_of_kind(KIND, m, from, to, x, rows, y, y_stride, 1); \
    else if (m->kind == KIND) product_of_kind(KIND, m, from, to, x, rows, y, y_stride, 0);
    CASE(FP32) else CASE(BF16) else CASE(INT8)
#undef CASE
}
