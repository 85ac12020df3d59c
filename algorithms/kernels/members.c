/* Forward and backward pass of many small perceptrons, one per member (algorithms/parts/networks.py).
 *
 * A network of L dense layers maps the rows x of a member to
 *
 *     h_0 = x,   z_i = h_{i-1} W_i + b_i,   h_i = N(s(z_i)) for i < L,   out = (h_{L-1} W_L + b_L) mask
 *
 * with activation s and, where asked for, the normalisation of a row, without gain or offset,
 * N(y) = (y - mean y) / sqrt(var y + 1e-5). The backward pass takes the gradient of out to those of
 * x and of all parameters. Members do not mix: each is computed by the same instructions on memory
 * of the same alignment, so its numbers do not depend on who is computed beside it.
 *
 * All parameters live in one flat buffer. The weights of layer i, (inputs, outputs) row by row, are
 * for member m at weight_at[i] + m weight_stride[i], its biases at bias_at[i] + m bias_stride[i].
 * Strides are rounded up to 64 numbers, so that every member begins on a cache line. The gradient has
 * the same layout, with zeros in the padding.
 *
 * Products are BLAS's, but for a last layer of few outputs: BLAS is slow there, and dot products
 * along the rows are used. Rows of matrices that are made here are padded to whole cache lines.
 *
 * NaN and infinities go through, so that a diverging run is noticed: the flags that let a compiler
 * assume them away (-ffinite-math-only, part of -ffast-math) must not be used. Linking with
 * -ffast-math besides would switch denormal numbers off in the whole process.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#define LINE 16   /* floats of a cache line */
#define NARROW 8  /* outputs up to which a last layer is computed by dot products */
#define EPSILON 1e-5f

#define INLINE static inline __attribute__((always_inline))

typedef struct {
    int64_t members, layers, activation, layer_norm;
    const int64_t *sizes;                                              /* (layers + 1,) */
    const int64_t *weight_at, *weight_stride, *bias_at, *bias_stride; /* (layers,) */
} Network;

/* Members 0, every, 2 every, ... are evaluated; `share` of them, one after the other, read the same
 * `rows` rows of x. `threads` work at a time. */
typedef struct {
    int64_t rows, every, share, threads;
} Call;

/* ---- BLAS and threads of the process ----------------------------------------------------------- */

typedef void (*Sgemm)(const char *, const char *, const void *, const void *, const void *,
                      const float *, const float *, const void *, const float *, const void *,
                      const float *, float *, const void *);
typedef void (*Parallel)(void (*)(void *), void *, unsigned, unsigned);
typedef int (*Count)(void);

static Sgemm sgemm;
static Parallel parallel;           /* GOMP_parallel of the OpenMP that BLAS uses, or null */
static Count own_number, number_of; /* omp_get_thread_num, omp_get_num_threads */

void member_connect(void *blas, void *run, void *number, void *count)
{
    sgemm = (Sgemm)blas;
    parallel = (Parallel)run;
    own_number = (Count)number;
    number_of = (Count)count;
}

/* c (m, n) = op(a) (m, k) op(b) (k, n), op transposes or not. BLAS counts columns first and thus sees
 * transposes. Sizes go as 64-bit integers, of which a 32-bit interface reads the lower half. */
static void product(int transpose_a, int transpose_b, int64_t m, int64_t n, int64_t k,
                    const float *a, int64_t a_stride, const float *b, int64_t b_stride, float *c,
                    int64_t c_stride)
{
    const float one = 1.0f, zero = 0.0f;
    sgemm(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &n, &m, &k, &one, b, &b_stride, a,
          &a_stride, &zero, c, &c_stride);
}

/* ---- activations: return y = s(z), set *slope = s'(z) ------------------------------------------- */

/* 2^(x c) for x c <= 0; exactly 0 below 2^-125.
 * Cephes exp2f (Moshier 1989): 2^k p(f), k the nearest integer of x c, f = x c - k. k is found by
 * adding 1.5 2^23, which leaves it in the last bits. Relative error below 1e-7 + 1e-7 |x c|. */
INLINE float power(float x, float c)
{
    const float shift = 12582912.0f;
    float shifted = x * c + shift;
    float f = x * c - (shifted - shift);
    float p = 1.535336188319500e-4f;
    p = p * f + 1.339887440266574e-3f;
    p = p * f + 9.618437357674640e-3f;
    p = p * f + 5.550332471162809e-2f;
    p = p * f + 2.402264791363012e-1f;
    p = p * f + 6.931472028550421e-1f;
    p = p * f + 1.0f;
    uint32_t bits, exponent;
    memcpy(&bits, &p, 4);
    memcpy(&exponent, &shifted, 4);
    bits += exponent << 23;
    memcpy(&p, &bits, 4);
    return shifted < shift - 125.0f ? 0.0f : p;
}

#define LOG2_E 1.44269504088896341f

/* z P(z), slope P(z) + z p(z), of the normal distribution P with density p. Its tail is
 * P(-|z|) = e^{-z^2/2} (a1 t + ... + a5 t^5) / 2 with t = 1 / (1 + 0.3275911 |z| / sqrt 2):
 * Abramowitz and Stegun (1964) 7.1.26, error below 7.5e-8. */
INLINE float gelu(float z, float *slope)
{
    float e = power(z * z, -0.5f * LOG2_E);
    float t = 1.0f / (1.0f + 0.231641888f * fabsf(z));
    float p = 0.5307027145f;
    p = p * t - 0.7265760135f;
    p = p * t + 0.7107068705f;
    p = p * t - 0.142248368f;
    p = p * t + 0.127414796f;
    float tail = p * t * e;
    float below = z > 0.0f ? 1.0f - tail : tail;
    *slope = below + z * 0.398942280401432678f * e;
    return z * below;
}

/* z S(z), slope S + z S (1 - S), S(z) = 1 / (1 + e^{-z}). */
INLINE float silu(float z, float *slope)
{
    float e = power(fabsf(z), -LOG2_E);
    float high = 1.0f / (1.0f + e), low = e * high; /* S(|z|), S(-|z|) */
    float s = z < 0.0f ? low : high;
    *slope = s + z * high * low;
    return z * s;
}

/* z T, slope T + z S(z) (1 - T)(1 + T), T = tanh(log(1 + e^z)) = n / (n + r). In terms of
 * e = e^{-|z|}: n = 1 + 2 e, r = 2 e^2 where z >= 0, and n = e^2 + 2 e, r = 2 below. */
INLINE float mish(float z, float *slope)
{
    float e = power(fabsf(z), -LOG2_E), square = e * e;
    float s = (z < 0.0f ? e : 1.0f) / (1.0f + e);
    float n = z < 0.0f ? square + 2.0f * e : 1.0f + 2.0f * e;
    float r = z < 0.0f ? 2.0f : 2.0f * square;
    float d = 1.0f / (n + r), t = n * d;
    *slope = t + z * s * (r * d) * (1.0f + t);
    return z * t;
}

INLINE float relu(float z, float *slope)
{
    *slope = z <= 0.0f ? 0.0f : 1.0f; /* so that NaN passes */
    return z < 0.0f ? 0.0f : z;
}

/* z + z^3 P(z^2) where |z| < 0.625 (Cephes tanhf), else +-(1 - e) / (1 + e), e = e^{-2 |z|}. */
INLINE float hyperbolic_tangent(float z, float *slope)
{
    float e = power(fabsf(z), -2.0f * LOG2_E), square = z * z;
    float far = (1.0f - e) / (1.0f + e);
    float p = -5.70498872745e-3f;
    p = p * square + 2.06390887954e-2f;
    p = p * square - 5.37397155531e-2f;
    p = p * square + 1.33314422036e-1f;
    p = p * square - 3.33332819422e-1f;
    float near = z + z * square * p;
    float y = fabsf(z) >= 0.625f ? copysignf(far, z) : near;
    *slope = 1.0f - y * y;
    return y;
}

/* ---- rows of a hidden layer ---------------------------------------------------------------------- */

/* NAME_row: y = s(y + bias) in place, g the slopes unless null; returns the sum of the row. */
#define EACH(name, keep)                                        \
    _Pragma("omp simd reduction(+ : sum)")                      \
    for (int64_t j = 0; j < n; j++) {                           \
        float slope, value = name(y[j] + bias[j], &slope);      \
        y[j] = value;                                           \
        keep;                                                   \
        sum += value;                                           \
    }
#define ROW(name)                                                                       \
    static float name##_row(float *restrict y, const float *restrict bias,              \
                            float *restrict g, int64_t n)                               \
    {                                                                                   \
        float sum = 0.0f;                                                               \
        if (g) {                                                                        \
            EACH(name, g[j] = slope)                                                    \
        } else {                                                                        \
            EACH(name, (void)slope)                                                     \
        }                                                                               \
        return sum;                                                                     \
    }
ROW(gelu)
ROW(silu)
ROW(mish)
ROW(relu)
ROW(hyperbolic_tangent)

typedef float (*Row)(float *restrict, const float *restrict, float *restrict, int64_t);
enum { ACTIVATIONS = 5 };
static const Row ROWS[ACTIVATIONS] = {gelu_row, silu_row, mish_row, relu_row,
                                      hyperbolic_tangent_row};

/* Normalise a row whose sum is known, in place; returns 1 / sqrt(var + epsilon). */
static float normalise(float *restrict y, float sum, int64_t n)
{
    float mean = sum / n, square = 0.0f;
#pragma omp simd reduction(+ : square)
    for (int64_t j = 0; j < n; j++) square += (y[j] - mean) * (y[j] - mean);
    float scale = 1.0f / sqrtf(square / n + EPSILON);
#pragma omp simd
    for (int64_t j = 0; j < n; j++) y[j] = (y[j] - mean) * scale;
    return scale;
}

/* Turn the gradient d of h = N(s(z)) into that of z, in place, and add it to the bias's unless null.
 * N: d <- (d - mean d - h mean(d h)) / sqrt(var + epsilon); s: d <- d s'(z). */
static void descend(float *restrict d, const float *restrict h, const float *restrict g,
                    const float *scale, float *restrict bias, int64_t n)
{
    if (scale) {
        float first = 0.0f, second = 0.0f;
#pragma omp simd reduction(+ : first, second)
        for (int64_t j = 0; j < n; j++) {
            first += d[j];
            second += d[j] * h[j];
        }
        first /= n;
        second /= n;
#pragma omp simd
        for (int64_t j = 0; j < n; j++) d[j] = (d[j] - first - h[j] * second) * *scale * g[j];
    } else {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) d[j] *= g[j];
    }
    if (bias) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) bias[j] += d[j];
    }
}

/* ---- a last layer of few outputs ------------------------------------------------------------------ */

static int64_t padded(int64_t n) { return (n + LINE - 1) / LINE * LINE; }

/* Weights (k, o) as (o, padded k). */
static void transpose(const float *w, float *to, int64_t k, int64_t o)
{
    for (int64_t j = 0; j < k; j++)
        for (int64_t q = 0; q < o; q++) to[q * padded(k) + j] = w[j * o + q];
}

/* out (rows, o) = h w^T + b with h (rows, k) and w (o, k): four rows at a time. */
static void narrow_forward(const float *restrict h, const float *restrict w, const float *b,
                           float *restrict out, int64_t rows, int64_t k, int64_t o)
{
    int64_t r = 0, stride = padded(k);
    for (; r + 4 <= rows; r += 4) {
        const float *h0 = h + r * stride, *h1 = h0 + stride, *h2 = h1 + stride, *h3 = h2 + stride;
        for (int64_t q = 0; q < o; q++) {
            const float *v = w + q * stride;
            float s0 = 0.0f, s1 = 0.0f, s2 = 0.0f, s3 = 0.0f;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
            for (int64_t j = 0; j < k; j++) {
                s0 += h0[j] * v[j];
                s1 += h1[j] * v[j];
                s2 += h2[j] * v[j];
                s3 += h3[j] * v[j];
            }
            out[r * o + q] = s0 + b[q];
            out[(r + 1) * o + q] = s1 + b[q];
            out[(r + 2) * o + q] = s2 + b[q];
            out[(r + 3) * o + q] = s3 + b[q];
        }
    }
    for (; r < rows; r++)
        for (int64_t q = 0; q < o; q++) {
            const float *h0 = h + r * stride, *v = w + q * stride;
            float s = 0.0f;
#pragma omp simd reduction(+ : s)
            for (int64_t j = 0; j < k; j++) s += h0[j] * v[j];
            out[r * o + q] = s + b[q];
        }
}

/* dw (o, k) = g^T h with g (rows, o), h (rows, k): four rows at a time. */
static void narrow_weights(const float *restrict h, const float *restrict g, float *restrict dw,
                           int64_t rows, int64_t k, int64_t o)
{
    int64_t r = 0, stride = padded(k);
    memset(dw, 0, sizeof(float) * o * stride);
    for (; r + 4 <= rows; r += 4) {
        const float *h0 = h + r * stride, *h1 = h0 + stride, *h2 = h1 + stride, *h3 = h2 + stride;
        for (int64_t q = 0; q < o; q++) {
            const float g0 = g[r * o + q], g1 = g[(r + 1) * o + q], g2 = g[(r + 2) * o + q],
                        g3 = g[(r + 3) * o + q];
            float *v = dw + q * stride;
#pragma omp simd
            for (int64_t j = 0; j < k; j++)
                v[j] += (g0 * h0[j] + g1 * h1[j]) + (g2 * h2[j] + g3 * h3[j]);
        }
    }
    for (; r < rows; r++)
        for (int64_t q = 0; q < o; q++) {
            const float *h0 = h + r * stride, g0 = g[r * o + q];
            float *v = dw + q * stride;
#pragma omp simd
            for (int64_t j = 0; j < k; j++) v[j] += g0 * h0[j];
        }
}

/* d (k,) = g w with g (o,), w (o, k): one row of the gradient of the layer's input. */
static void narrow_input(const float *restrict g, const float *restrict w, float *restrict d,
                         int64_t k, int64_t o)
{
    int64_t stride = padded(k), q = 1;
    if (o % 2) {
#pragma omp simd
        for (int64_t j = 0; j < k; j++) d[j] = g[0] * w[j];
    } else {
        q = 2;
#pragma omp simd
        for (int64_t j = 0; j < k; j++) d[j] = g[0] * w[j] + g[1] * w[stride + j];
    }
    for (; q < o; q += 2) {
        const float *v = w + q * stride;
#pragma omp simd
        for (int64_t j = 0; j < k; j++) d[j] += g[q] * v[j] + g[q + 1] * v[stride + j];
    }
}

/* ---- memory --------------------------------------------------------------------------------------- */

/* Numbers kept of a member for the backward pass: of each hidden layer h (rows, width) and the slopes
 * alike, and 1 / sqrt(var + epsilon) of every row where rows are normalised. */
static int64_t kept_of_layer(const Network *net, int64_t i, int64_t rows)
{
    return 2 * rows * padded(net->sizes[i + 1]) + (net->layer_norm ? padded(rows) : 0);
}

static int64_t kept_of_member(const Network *net, int64_t rows)
{
    int64_t total = 0;
    for (int64_t i = 0; i + 1 < net->layers; i++) total += kept_of_layer(net, i, rows);
    return total;
}

/* Working memory of one thread: x; two matrices of the shape of the widest hidden layer; matrices of
 * the shapes of out and x; the last layer's weights, and their gradient, transposed. */
typedef struct {
    float *x, *one, *other, *out, *dx, *weights, *gradient;
} Scratch;

/* Lay out the parts in `memory`, unless null, and return their total size. */
static int64_t lay_out(const Network *net, int64_t rows, float *memory, Scratch *scratch)
{
    int64_t widest = 0, total = 0;
    for (int64_t i = 1; i < net->layers; i++)
        if (net->sizes[i] > widest) widest = net->sizes[i];
    int64_t inputs = rows * padded(net->sizes[0]), hidden = rows * padded(widest);
    int64_t outputs = rows * padded(net->sizes[net->layers]);
    int64_t last = padded(net->sizes[net->layers - 1]) * net->sizes[net->layers];
    const int64_t sizes[] = {inputs, hidden, hidden, outputs, inputs, last, last};
    float **parts[] = {&scratch->x,  &scratch->one,     &scratch->other,   &scratch->out,
                       &scratch->dx, &scratch->weights, &scratch->gradient};
    for (int i = 0; i < 7; i++) {
        if (memory) *parts[i] = memory + total;
        total += sizes[i];
    }
    return total;
}

int64_t member_kept(const Network *net, const Call *call)
{
    return net->members / call->every * kept_of_member(net, call->rows);
}

int64_t member_scratch(const Network *net, const Call *call)
{
    Scratch unused;
    return call->threads * lay_out(net, call->rows, 0, &unused);
}

/* ---- one member ------------------------------------------------------------------------------------ */

typedef struct {
    const Network *net;
    Call call;
    const float *flat, *mask; /* mask (members, outputs), or null */
    const float *x;
    float *out, *kept;     /* of the forward pass; kept may be null */
    const float *gradient; /* of out, in the backward pass, else null */
    float *dx, *dflat;     /* what it makes, null where not asked for */
    float *scratch;
} Work;

static const float *weights_of(const Work *work, int64_t i, int64_t m)
{
    return work->flat + work->net->weight_at[i] + m * work->net->weight_stride[i];
}

static const float *biases_of(const Work *work, int64_t i, int64_t m)
{
    return work->flat + work->net->bias_at[i] + m * work->net->bias_stride[i];
}

/* Multiply (rows, outputs) by member m's mask. */
static void masked(const Work *work, int64_t m, const float *from, float *to)
{
    int64_t outputs = work->net->sizes[work->net->layers];
    for (int64_t r = 0; r < work->call.rows; r++)
        for (int64_t q = 0; q < outputs; q++)
            to[r * outputs + q] = from[r * outputs + q] * work->mask[m * outputs + q];
}

static void last_forward(const Work *work, int64_t m, const float *h, float *out, Scratch s)
{
    int64_t i = work->net->layers - 1, rows = work->call.rows;
    int64_t k = work->net->sizes[i], o = work->net->sizes[i + 1];
    const float *w = weights_of(work, i, m), *b = biases_of(work, i, m);
    if (o <= NARROW) {
        transpose(w, s.weights, k, o);
        narrow_forward(h, s.weights, b, out, rows, k, o);
    } else {
        product(0, 0, rows, o, k, h, padded(k), w, o, s.out, padded(o));
        for (int64_t r = 0; r < rows; r++)
            for (int64_t q = 0; q < o; q++) out[r * o + q] = s.out[r * padded(o) + q] + b[q];
    }
    if (work->mask) masked(work, m, out, out);
}

/* Member c of those that are evaluated, its rows in s.x. */
static void forward(const Work *work, int64_t c, Scratch s)
{
    const Network *net = work->net;
    int64_t m = c * work->call.every, rows = work->call.rows, k = net->sizes[0];
    float *kept = work->kept ? work->kept + c * kept_of_member(net, rows) : 0;
    const float *h = s.x;
    for (int64_t i = 0; i + 1 < net->layers; i++) {
        int64_t n = net->sizes[i + 1], stride = padded(n);
        float *y = kept ? kept : (i % 2 ? s.other : s.one);
        float *slopes = kept ? y + rows * stride : 0;
        float *scales = kept ? slopes + rows * stride : 0;
        product(0, 0, rows, n, k, h, padded(k), weights_of(work, i, m), n, y, stride);
        for (int64_t r = 0; r < rows; r++) {
            float *row = y + r * stride;
            float sum = ROWS[net->activation](row, biases_of(work, i, m),
                                              kept ? slopes + r * stride : 0, n);
            if (!net->layer_norm) continue;
            float scale = normalise(row, sum, n);
            if (kept) scales[r] = scale;
        }
        if (kept) kept += kept_of_layer(net, i, rows);
        h = y;
        k = n;
    }
    last_forward(work, m, h, work->out + c * rows * net->sizes[net->layers], s);
}

/* Zero member m's part of the gradient where nothing is assigned: padding, and biases, to which rows
 * are added one by one. */
static void clear(const Work *work, int64_t m)
{
    const Network *net = work->net;
    for (int64_t i = 0; i < net->layers; i++) {
        int64_t used = net->sizes[i] * net->sizes[i + 1];
        float *dw = work->dflat + net->weight_at[i] + m * net->weight_stride[i];
        memset(dw + used, 0, sizeof(float) * (net->weight_stride[i] - used));
        memset(work->dflat + net->bias_at[i] + m * net->bias_stride[i], 0,
               sizeof(float) * net->bias_stride[i]);
    }
}

/* Gradients of the last layer's parameters, from its input h and the gradient g of its output. */
static void last_parameters(const Work *work, int64_t m, const float *h, const float *g, Scratch s)
{
    const Network *net = work->net;
    int64_t i = net->layers - 1, rows = work->call.rows, k = net->sizes[i], o = net->sizes[i + 1];
    float *dw = work->dflat + net->weight_at[i] + m * net->weight_stride[i];
    float *db = work->dflat + net->bias_at[i] + m * net->bias_stride[i];
    for (int64_t r = 0; r < rows; r++)
        for (int64_t q = 0; q < o; q++) db[q] += g[r * o + q];
    if (o > NARROW) {
        product(1, 0, k, o, rows, h, padded(k), g, o, dw, o);
        return;
    }
    narrow_weights(h, g, s.gradient, rows, k, o);
    for (int64_t j = 0; j < k; j++)
        for (int64_t q = 0; q < o; q++) dw[j * o + q] = s.gradient[q * padded(k) + j];
}

/* The gradient of the last layer's input, (rows, k), from that of its output. */
static void last_input(const Work *work, int64_t m, const float *g, float *d, Scratch s)
{
    int64_t i = work->net->layers - 1, rows = work->call.rows;
    int64_t k = work->net->sizes[i], o = work->net->sizes[i + 1];
    const float *w = weights_of(work, i, m);
    if (o > NARROW) {
        product(0, 1, rows, k, o, g, o, w, o, d, padded(k));
        return;
    }
    transpose(w, s.weights, k, o);
    for (int64_t r = 0; r < rows; r++)
        narrow_input(g + r * o, s.weights, d + r * padded(k), k, o);
}

/* Member c of those that are evaluated, its rows in s.x; leaves the gradient of x in s.dx. */
static void backward(const Work *work, int64_t c, Scratch s)
{
    const Network *net = work->net;
    int64_t m = c * work->call.every, rows = work->call.rows, last = net->layers - 1;
    const float *g = work->gradient + c * rows * net->sizes[net->layers];
    const float *kept = work->kept + c * kept_of_member(net, rows);
    float *d = s.one, *next = s.other;
    if (work->mask) {
        masked(work, m, g, s.out);
        g = s.out;
    }
    for (int64_t i = 0; i + 1 < last; i++) kept += kept_of_layer(net, i, rows);
    if (work->dflat) {
        clear(work, m);
        last_parameters(work, m, last ? kept : s.x, g, s);
    }
    if (last || work->dx) last_input(work, m, g, last ? d : s.dx, s);
    for (int64_t i = last - 1; i >= 0; i--) {
        int64_t k = net->sizes[i], n = net->sizes[i + 1], stride = padded(n);
        const float *h = kept, *slopes = h + rows * stride, *scales = slopes + rows * stride;
        float *db = work->dflat ? work->dflat + net->bias_at[i] + m * net->bias_stride[i] : 0;
        for (int64_t r = 0; r < rows; r++)
            descend(d + r * stride, h + r * stride, slopes + r * stride,
                    net->layer_norm ? scales + r : 0, db, n);
        if (i) kept -= kept_of_layer(net, i - 1, rows);
        if (work->dflat)
            product(1, 0, k, n, rows, i ? kept : s.x, padded(k), d, stride,
                    work->dflat + net->weight_at[i] + m * net->weight_stride[i], n);
        if (i || work->dx)
            product(0, 1, rows, k, n, d, stride, weights_of(work, i, m), n, i ? next : s.dx,
                    padded(k));
        float *used = d;
        d = next;
        next = used;
    }
}

/* ---- all members ------------------------------------------------------------------------------------ */

/* The members that read block `at` of x, one after the other. */
static void do_block(const Work *work, int64_t at, Scratch s)
{
    int64_t rows = work->call.rows, k = work->net->sizes[0], share = work->call.share;
    for (int64_t r = 0; r < rows; r++)
        memcpy(s.x + r * padded(k), work->x + (at * rows + r) * k, sizeof(float) * k);
    for (int64_t c = at * share; c < (at + 1) * share; c++) {
        if (!work->gradient) {
            forward(work, c, s);
            continue;
        }
        backward(work, c, s);
        if (!work->dx) continue;
        float *dx = work->dx + at * rows * k;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < k; j++) {
                float own = s.dx[r * padded(k) + j];
                dx[r * k + j] = c % share ? dx[r * k + j] + own : own;
            }
    }
}

static void do_share(void *given)
{
    const Work *work = given;
    int together = parallel && work->call.threads > 1;
    int64_t number = together ? own_number() : 0, step = together ? number_of() : 1;
    int64_t blocks = work->net->members / work->call.every / work->call.share;
    Scratch scratch;
    int64_t size = lay_out(work->net, work->call.rows, 0, &scratch);
    lay_out(work->net, work->call.rows, work->scratch + number * size, &scratch);
    for (int64_t at = number; at < blocks; at += step) do_block(work, at, scratch);
}

static void do_all(Work *work)
{
    if (parallel && work->call.threads > 1)
        parallel(do_share, work, (unsigned)work->call.threads, 0);
    else
        do_share(work);
}

void member_forward(const Network *net, const Call *call, const float *flat, const float *mask,
                    const float *x, float *out, float *kept, float *scratch)
{
    Work work = {.net = net, .call = *call, .flat = flat, .mask = mask, .x = x, .out = out,
                 .kept = kept, .scratch = scratch};
    do_all(&work);
}

void member_backward(const Network *net, const Call *call, const float *flat, const float *mask,
                     const float *x, float *kept, const float *gradient, float *dx, float *dflat,
                     float *scratch)
{
    Work work = {.net = net, .call = *call, .flat = flat, .mask = mask, .x = x, .kept = kept,
                 .gradient = gradient, .dx = dx, .dflat = dflat, .scratch = scratch};
    do_all(&work);
}

/* ---- for the loader and for tests ------------------------------------------------------------------- */

/* What is wrong with this build or its BLAS: 0 nothing, 1 products, 2 NaN does not go through. */
int member_check(void)
{
    const float a[6] = {1, 2, 3, 4, 5, 6}, b[6] = {7, 8, 9, 10, 11, 12};
    float c[4], d[4];
    product(0, 0, 2, 2, 3, a, 3, b, 2, c, 2); /* (2, 3) (3, 2) */
    product(0, 1, 2, 2, 3, a, 3, b, 3, d, 2); /* (2, 3) (2, 3)^T */
    if (c[0] != 58 || c[1] != 64 || c[2] != 139 || c[3] != 154) return 1;
    if (d[0] != 50 || d[1] != 68 || d[2] != 122 || d[3] != 167) return 1;
    for (int i = 0; i < ACTIVATIONS; i++) {
        uint32_t bits[LINE];
        float y[LINE], bias[LINE] = {0}, g[LINE];
        for (int j = 0; j < LINE; j++) bits[j] = 0x7fc00000u;
        memcpy(y, bits, sizeof y);
        ROWS[i](y, bias, g, LINE);
        memcpy(bits, y, sizeof y);
        for (int j = 0; j < LINE; j++)
            if ((bits[j] & 0x7fffffffu) <= 0x7f800000u) return 2;
    }
    return 0;
}

/* An activation of n numbers, in place, and its slopes. */
void member_activation(int64_t activation, float *y, float *slopes, const float *zeros, int64_t n)
{
    ROWS[activation](y, zeros, slopes, n);
}
