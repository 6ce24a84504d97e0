/* One pass of a decoder over M new tokens of each of B rows and a cache of keys and values, in one call.

   Every sum has one order, whatever the batch and the number of threads: a row's logits are the same bits alone and
   among others. Matrices are fp32, bf16 or int8 with a scale a row; activations and sums are fp32, beside int8 whole numbers.

   R = B * M rows, D width, H heads, G heads of keys and values, K head width, N capacity in tokens.
   Keys lie in blocks of eight tokens, [L, B, G, N / 8, K, 8], so that eight scores are one vector; values [L, B, G, N, K].
   The structs are mirrored in structs.py. */

#ifdef _OPENMP
#include <omp.h>
#endif
#include "attention.h"
#include "products.h"

typedef struct {
    Norm norm_1, norm_2, query_norm, key_norm;
    Matrix qkv, out, mlp_in, mlp_out;
    const uint8_t *sees; /* [M, key_stride]: which keys each query sees, or NULL for all before it */
} Layer;

typedef struct {
    int64_t num_layers, width, heads, groups, head_width, hidden, activation, gated;
    const Layer *layers;
    Norm norm;
    Matrix head;
} Model;

typedef struct {
    int64_t batch, new_tokens, length, capacity, layer_stride, logits_of_last, sees_stride, rotation_stride;
    float *keys, *values;
    float *x;              /* [R, D], overwritten */
    const float *rotation; /* [B or 1, M, K / 2, 2] or NULL */
    const int64_t *skip;   /* [B] empty places before each row, or NULL */
    float *logits;         /* [R or B, V] */
    float *scratch;        /* R * (D + (H + 2G) K + H K + 2 hidden) + threads * H / G * capacity floats */
    int64_t threads;
} Pass;

/* The share of `count` that falls to one of `threads`, in whole multiples of `unit` */
static void share(int64_t count, int64_t unit, int64_t thread, int64_t threads, int64_t *from, int64_t *to) {
    int64_t units = (count + unit - 1) / unit;
    *from = units * thread / threads * unit;
    *to = units * (thread + 1) / threads * unit;
    if (*to > count) *to = count;
    if (*from > count) *from = count;
}

/* Normalise and turn the new queries and keys; keys and values go into the cache. */
static void remember(const Model *model, const Layer *layer, const Pass *pass, int64_t number, int64_t row, float *qkv) {
    const int64_t K = model->head_width, H = model->heads, G = model->groups, N = pass->capacity;
    const int64_t b = row / pass->new_tokens, place = pass->length + row % pass->new_tokens;
    const float *rotation = pass->rotation;
    if (rotation) rotation += b * pass->rotation_stride + row % pass->new_tokens * K;
    for (int64_t h = 0; h < H + G; h++) {
        const Norm *norm = h < H ? &layer->query_norm : &layer->key_norm;
        if (norm->weight) normalise(norm, qkv + h * K, qkv + h * K, K);
        if (rotation) turn(qkv + h * K, rotation, K);
    }
    for (int64_t g = 0; g < G; g++) {
        const int64_t start = number * pass->layer_stride + (b * G + g) * N * K;
        const float *k = qkv + (H + g) * K, *v = qkv + (H + G + g) * K;
        float *block = pass->keys + start + place / LANES * LANES * K + place % LANES;
        for (int64_t c = 0; c < K; c++) block[c * LANES] = k[c];
        memcpy(pass->values + start + place * K, v, K * sizeof(float));
    }
}

static void attend_task(const Model *model, const Layer *layer, const Pass *pass, int64_t number, int64_t task,
                        const float *qkv, float *out, float *scores) {
    const int64_t K = model->head_width, H = model->heads, G = model->groups, N = pass->capacity;
    const int64_t row = task / G, g = task % G, b = row / pass->new_tokens, m = row % pass->new_tokens;
    const int64_t start = number * pass->layer_stride + (b * G + g) * N * K, each = H / G;
    int64_t skip = pass->skip ? pass->skip[b] : 0, length = pass->length + m + 1;
    if (skip >= length) skip = length - 1; /* an empty place sees itself */
    attend_group(K, each, qkv + row * (H + 2 * G) * K + g * each * K, pass->keys + start, pass->values + start, skip,
                 length, layer->sees ? layer->sees + m * pass->sees_stride : 0, scores, N,
                 out + (row * H + g * each) * K);
}

static void mlp_in(const Model *model, const Layer *layer, const float *x, int64_t rows, float *hidden, int64_t from,
                   int64_t to) {
    const int64_t F = model->hidden, stride = layer->mlp_in.rows;
    product(&layer->mlp_in, from, to, x, rows, hidden, stride, 0);
    if (model->gated) product(&layer->mlp_in, F + from, F + to, x, rows, hidden, stride, 0);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = from; i < to; i += LANES) {
            float *h = hidden + r * stride + i;
            v8 a = activate(load(h), model->activation);
            store(h, model->gated ? a * load(h + F) : a);
        }
}

/* gated: the products lie beside the gates, and the next matrix wants them without gaps */
static void close_gaps(float *hidden, int64_t rows, int64_t width, int64_t stride) {
    for (int64_t r = 1; r < rows; r++) memmove(hidden + r * width, hidden + r * stride, width * sizeof(float));
}

static void normalise_rows(const Norm *norm, const float *x, float *y, int64_t rows, int64_t width, int64_t thread,
                           int64_t threads) {
    int64_t from, to;
    share(rows, 1, thread, threads, &from, &to);
    for (int64_t r = from; r < to; r++) normalise(norm, x + r * width, y + r * width, width);
}

static void multiply(const Matrix *m, const float *x, int64_t rows, float *y, int add, int64_t thread, int64_t threads) {
    int64_t from, to;
    share(m->rows, 24, thread, threads, &from, &to);
    product(m, from, to, x, rows, y, m->rows, add);
}

static void thread_pass(const Model *model, const Pass *pass, int64_t thread, int64_t threads) {
    const int64_t D = model->width, K = model->head_width, H = model->heads, G = model->groups;
    const int64_t R = pass->batch * pass->new_tokens, in_rows = model->layers[0].mlp_in.rows;
    float *normed = pass->scratch, *qkv = normed + R * D, *mixed = qkv + R * (H + 2 * G) * K;
    float *hidden = mixed + R * H * K, *scores = hidden + R * in_rows + thread * (H / G) * pass->capacity;
    int64_t from, to;
    for (int64_t number = 0; number < model->num_layers; number++) {
        const Layer *layer = model->layers + number;
        normalise_rows(&layer->norm_1, pass->x, normed, R, D, thread, threads);
#pragma omp barrier
        multiply(&layer->qkv, normed, R, qkv, 0, thread, threads);
#pragma omp barrier
        share(R, 1, thread, threads, &from, &to);
        for (int64_t r = from; r < to; r++) remember(model, layer, pass, number, r, qkv + r * (H + 2 * G) * K);
#pragma omp barrier
        share(R * G, 1, thread, threads, &from, &to);
        for (int64_t t = from; t < to; t++) attend_task(model, layer, pass, number, t, qkv, mixed, scores);
#pragma omp barrier
        multiply(&layer->out, mixed, R, pass->x, 1, thread, threads);
#pragma omp barrier
        normalise_rows(&layer->norm_2, pass->x, normed, R, D, thread, threads);
#pragma omp barrier
        share(model->hidden, 24, thread, threads, &from, &to);
        mlp_in(model, layer, normed, R, hidden, from, to);
#pragma omp barrier
        if (model->gated && R > 1) {
            if (thread == 0) close_gaps(hidden, R, model->hidden, in_rows);
#pragma omp barrier
        }
        multiply(&layer->mlp_out, hidden, R, pass->x, 1, thread, threads);
#pragma omp barrier
    }
    const int64_t every = pass->logits_of_last ? pass->new_tokens : 1, rows = R / every;
    share(rows, 1, thread, threads, &from, &to);
    for (int64_t r = from; r < to; r++)
        normalise(&model->norm, pass->x + ((r + 1) * every - 1) * D, normed + r * D, D);
#pragma omp barrier
    multiply(&model->head, normed, rows, pass->logits, 0, thread, threads);
}

void decoder_pass(const Model *model, const Pass *pass) {
#ifdef _OPENMP
#pragma omp parallel num_threads(pass->threads)
    thread_pass(model, pass, omp_get_thread_num(), omp_get_num_threads());
#else
    thread_pass(model, pass, 0, 1);
#endif
}
