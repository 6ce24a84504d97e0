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

#ifdef __AVX2__
/* int8 in whole numbers: rows of activations become int16 with a scale each, and a product of 16 pairs is one instruction,
   twice what fp32 does. The sums are exact: 4096 / 8 products of 32767 * 127 fit a lane. */
#define MOST_COLUMNS 4096
#define WHOLE_ROWS 32
#define PAIRS 16

static void to_whole(const float *x, int64_t columns, int16_t *whole, float *scale) {
    v8 most = splat(0);
    for (int64_t k = 0; k < columns; k += LANES) {
        v8 a = load(x + k);
        a = pick(a < splat(0), -a, a);
        most = pick(a > most, a, most);
    }
    float largest = 0;
    for (int i = 0; i < LANES; i++) largest = most[i] > largest ? most[i] : largest;
    const v8 steps = splat(largest > 0 ? 32767.0f / largest : 0);
    *scale = largest / 32767.0f;
    for (int64_t k = 0; k < columns; k += LANES) {
        __m256i n = _mm256_cvtps_epi32((__m256)(load(x + k) * steps));
        _mm_storeu_si128((__m128i *)(whole + k), _mm_packs_epi32(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1)));
    }
    if (columns % PAIRS) _mm_storeu_si128((__m128i *)(whole + columns), _mm_setzero_si128());
}

INLINE int32_t whole_sum(__m256i x) {
    __m128i half = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    half = _mm_hadd_epi32(half, half);
    return _mm_cvtsi128_si32(_mm_hadd_epi32(half, half));
}

/* sum += products of 16 whole numbers at x with w, pair by pair. In assembler, since a compiler makes all products of a tile
   before it adds the first, and then has no registers for the sums: half the speed. */
INLINE __m256i add_products(__m256i sum, __m256i w, const int16_t *x) {
    __m256i products;
    __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
            : "+x"(sum), "=&x"(products) : "x"(w), "m"(*(const __m256i *)x));
    return sum;
}

/* Sums of four rows by three columns, each in a register of its own, over all columns that are whole multiples of 16 */
INLINE int64_t sums_4x3(const int8_t *w, int64_t columns, const int16_t *x, int64_t stride, const int ahead, __m256i acc[4][8]) {
    const int8_t *u = w + columns, *v = u + columns;
    const int16_t *x1 = x + stride, *x2 = x1 + stride, *x3 = x2 + stride;
    const __m256i zero = _mm256_setzero_si256();
    __m256i a0 = zero, a1 = zero, a2 = zero, b0 = zero, b1 = zero, b2 = zero;
    __m256i c0 = zero, c1 = zero, c2 = zero, d0 = zero, d1 = zero, d2 = zero;
    int64_t k = 0;
    for (; k + PAIRS <= columns; k += PAIRS) {
        if (ahead && k % 64 == 0) {
            __builtin_prefetch(v + columns + k);
            __builtin_prefetch(v + 2 * columns + k);
            __builtin_prefetch(v + 3 * columns + k);
        }
        const __m256i p = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + k)));
        const __m256i q = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(u + k)));
        const __m256i r = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(v + k)));
        a0 = add_products(a0, p, x + k); a1 = add_products(a1, q, x + k); a2 = add_products(a2, r, x + k);
        b0 = add_products(b0, p, x1 + k); b1 = add_products(b1, q, x1 + k); b2 = add_products(b2, r, x1 + k);
        c0 = add_products(c0, p, x2 + k); c1 = add_products(c1, q, x2 + k); c2 = add_products(c2, r, x2 + k);
        d0 = add_products(d0, p, x3 + k); d1 = add_products(d1, q, x3 + k); d2 = add_products(d2, r, x3 + k);
    }
    acc[0][0] = a0; acc[0][1] = a1; acc[0][2] = a2; acc[1][0] = b0; acc[1][1] = b1; acc[1][2] = b2;
    acc[2][0] = c0; acc[2][1] = c1; acc[2][2] = c2; acc[3][0] = d0; acc[3][1] = d1; acc[3][2] = d2;
    return k;
}

INLINE __m128i four_sums(__m256i a, __m256i b, __m256i c, __m256i d) {
    __m256i both = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
}

INLINE void whole_tile(const int R, const int N, const Matrix *m, int64_t first, const int16_t *x, int64_t x_stride,
                       const float *x_scale, float *y, int64_t y_stride, const int add, int ahead) {
    const int64_t columns = m->columns;
    const int8_t *weight = (const int8_t *)m->weight + first * columns;
    __m256i acc[4][8];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int n = 0; n < N; n++) acc[r][n] = _mm256_setzero_si256();
    int64_t k = 0;
    if (R == 4 && N == 3) k = ahead ? sums_4x3(weight, columns, x, x_stride, 1, acc) : sums_4x3(weight, columns, x, x_stride, 0, acc);
    for (; k < columns; k += PAIRS) {
        __m256i w[8];
        if (ahead && k % 64 == 0)
#pragma GCC unroll 8
            for (int n = 0; n < N; n++) __builtin_prefetch(weight + (N + n) * columns + k);
#pragma GCC unroll 8
        for (int n = 0; n < N; n++) {
            const __m128i *bytes = (const __m128i *)(weight + n * columns + k);
            w[n] = _mm256_cvtepi8_epi16(k + PAIRS <= columns ? _mm_loadu_si128(bytes) : _mm_loadl_epi64(bytes));
        }
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            __m256i xr = _mm256_loadu_si256((const __m256i *)(x + r * x_stride + k));
#pragma GCC unroll 8
            for (int n = 0; n < N; n++) acc[r][n] = _mm256_add_epi32(acc[r][n], _mm256_madd_epi16(xr, w[n]));
        }
    }
#pragma GCC unroll 8
    for (int n = 0; n < N; n++) {
        float sums[4];
        if (R == 4) _mm_storeu_ps(sums, _mm_cvtepi32_ps(four_sums(acc[0][n], acc[1][n], acc[2][n], acc[3][n])));
        else
            for (int r = 0; r < R; r++) sums[r] = (float)whole_sum(acc[r][n]);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            float total = sums[r] * (x_scale[r] * m->scale[first + n]);
            if (m->bias) total += m->bias[first + n];
            float *out = y + r * y_stride + first + n;
            *out = add ? *out + total : total;
        }
    }
}

#define WHOLE(R, N, AHEAD) \
    whole_tile(R, N, m, n, whole + r * stride, stride, scale + r, y + (first + r) * y_stride, y_stride, add, AHEAD)
#define WHOLE_STRIP(R, N) for (int64_t end = n + STRIP; n < end; n += N) WHOLE(R, N, r == 0)

INLINE void whole_product(const Matrix *m, int64_t from, int64_t to, const float *x, int64_t rows, float *y,
                          int64_t y_stride, const int add) {
    int16_t whole[WHOLE_ROWS * MOST_COLUMNS] __attribute__((aligned(64)));
    float scale[WHOLE_ROWS];
    const int64_t stride = (m->columns + PAIRS - 1) / PAIRS * PAIRS;
    for (int64_t first = 0; first < rows; first += WHOLE_ROWS) {
        const int64_t count = first + WHOLE_ROWS < rows ? WHOLE_ROWS : rows - first;
        for (int64_t r = 0; r < count; r++)
            to_whole(x + (first + r) * m->columns, m->columns, whole + r * stride, scale + r);
        int64_t strip = from, n, r;
        for (; strip + STRIP <= to; strip += STRIP) {
            for (r = 0; r + 4 <= count; r += 4) { n = strip; WHOLE_STRIP(4, 3); }
            n = strip;
            if (count - r == 3) WHOLE_STRIP(3, 4);
            if (count - r == 2) WHOLE_STRIP(2, 4);
            if (count - r == 1) WHOLE_STRIP(1, 8);
        }
        for (n = strip; n < to; n++) {
            for (r = 0; r + 4 <= count; r += 4) WHOLE(4, 1, 0);
            for (; r < count; r++) WHOLE(1, 1, 0);
        }
    }
}
#endif

static void product(const Matrix *m, int64_t from, int64_t to, const float *x, int64_t rows, float *y, int64_t y_stride,
                    int add) {
#ifdef __AVX2__
    if (m->kind == INT8 && m->columns <= MOST_COLUMNS) {
        if (add) whole_product(m, from, to, x, rows, y, y_stride, 1);
        else whole_product(m, from, to, x, rows, y, y_stride, 0);
        return;
    }
#endif
#define CASE(KIND) \
    if (m->kind == KIND && add) product_of_kind(KIND, m, from, to, x, rows, y, y_stride, 1); \
    else if (m->kind == KIND) product_of_kind(KIND, m, from, to, x, rows, y, y_stride, 0);
    CASE(FP32) else CASE(BF16) else CASE(INT8)
#undef CASE
}
