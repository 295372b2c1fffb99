/* Fourier transforms of any length: Stockham's method, which sorts as it goes, by fours and twos and any odd prime.

   Real and imaginary parts stand in arrays of their own while they are transformed, so that neighbours go through the
   arithmetic together; outside they alternate. A prime factor p costs p additions a point: lengths whose largest prime
   is small are fast, all are right. The error is below 1e-6 of the largest result up to 2^16 points.

   table: cosines of 2 pi k / N for k < N, then sines; a transform of n points uses every (N / n)th of them. */
#ifndef PC_FOURIER_H
#define PC_FOURIER_H
#include "pc_math.h"

/* One stage: what is multiplied, where the parts stand, and how far the table's entries are apart. */
typedef struct {
    const float *re, *im;
    float *to_re, *to_im;
    const float *cosine, *sine;
    int step, points;
    float sign;
} pc_stage;

/* Turn the numbers from `at` on, `length` of them, by entry k of the table. */
PC_INLINE void pc_turn(const pc_stage *t, int at, int length, int k)
{
    const float c = t->cosine[k * t->step], s = t->sine[k * t->step] * t->sign;
    for (int q = at; q < at + length; q++) {
        const float re = t->to_re[q], im = t->to_im[q];
        t->to_re[q] = re * c - im * s;
        t->to_im[q] = re * s + im * c;
    }
}

/* m groups of two numbers each, m `length`s apart. */
PC_INLINE void pc_stage_two(const pc_stage *t, int m, int length)
{
    for (int k = 0; k < m; k++) {
        const int a = length * k, b = length * (k + m), to = length * 2 * k, next = to + length;
        for (int q = 0; q < length; q++) {
            t->to_re[to + q] = t->re[a + q] + t->re[b + q];
            t->to_im[to + q] = t->im[a + q] + t->im[b + q];
            t->to_re[next + q] = t->re[a + q] - t->re[b + q];
            t->to_im[next + q] = t->im[a + q] - t->im[b + q];
        }
        pc_turn(t, next, length, k * length);
    }
}

PC_INLINE void pc_stage_four(const pc_stage *t, int m, int length)
{
    for (int k = 0; k < m; k++) {
        const float *re = t->re + length * k, *im = t->im + length * k;
        float *to_re = t->to_re + length * 4 * k, *to_im = t->to_im + length * 4 * k;
        const int far = length * m;
        for (int q = 0; q < length; q++) {
            const float even = re[q] + re[q + 2 * far], even_im = im[q] + im[q + 2 * far];
            const float low = re[q] - re[q + 2 * far], low_im = im[q] - im[q + 2 * far];
            const float odd = re[q + far] + re[q + 3 * far], odd_im = im[q + far] + im[q + 3 * far];
            const float high = (im[q + far] - im[q + 3 * far]) * -t->sign;
            const float high_im = (re[q + far] - re[q + 3 * far]) * t->sign;
            to_re[q] = even + odd;
            to_im[q] = even_im + odd_im;
            to_re[q + length] = low + high;
            to_im[q + length] = low_im + high_im;
            to_re[q + 2 * length] = even - odd;
            to_im[q + 2 * length] = even_im - odd_im;
            to_re[q + 3 * length] = low - high;
            to_im[q + 3 * length] = low_im - high_im;
        }
        for (int p = 1; p < 4; p++) pc_turn(t, length * (4 * k + p), length, k * p * length);
    }
}

/* Any radix, each result as a sum of all. */
PC_INLINE void pc_stage_any(const pc_stage *t, int radix, int m, int length)
{
    for (int k = 0; k < m; k++) {
        for (int p = 0; p < radix; p++) {
            const int to = length * (radix * k + p);
            for (int q = 0; q < length; q++) t->to_re[to + q] = t->to_im[to + q] = 0.0f;
            for (int j = 0; j < radix; j++) {
                const int angle = j * p % radix * (t->points / radix) * t->step, from = length * (k + m * j);
                const float c = t->cosine[angle], s = t->sine[angle] * t->sign;
                for (int q = 0; q < length; q++) {
                    t->to_re[to + q] += t->re[from + q] * c - t->im[from + q] * s;
                    t->to_im[to + q] += t->re[from + q] * s + t->im[from + q] * c;
                }
            }
            if (p && k) pc_turn(t, to, length, k * p * length);
        }
    }
}

PC_INLINE int pc_radix(int n)
{
    if (n % 4 == 0) return 4;
    for (int p = 2; p * p <= n; p++)
        if (n % p == 0) return p;
    return n;
}

/* Transform re and im in place; sign is -1 forwards and 1 back, where nothing is divided. spare: 2 n floats. table: of
   `whole` points, a multiple of n. */
PC_KERNEL void pc_fourier(float *re, float *im, float *spare, const float *table, int whole, int n, float sign)
{
    pc_stage t = {re, im, spare, spare + n, table, table + whole, whole / n, n, sign};
    int left = n;
    for (int length = 1; left > 1;) {
        const int radix = pc_radix(left);
        left /= radix;
        if (radix == 4) pc_stage_four(&t, left, length);
        else if (radix == 2) pc_stage_two(&t, left, length);
        else pc_stage_any(&t, radix, left, length);
        length *= radix;
        float *made_re = t.to_re, *made_im = t.to_im;
        t.to_re = t.to_re == re ? spare : re;
        t.to_im = t.to_im == im ? spare + n : im;
        t.re = made_re;
        t.im = made_im;
    }
    if (t.re != re) {
        pc_copy(re, t.re, n);
        pc_copy(im, t.im, n);
    }
}

/* Complex numbers, `given` of them (or of real ones), cut or filled up with zeros to n; scratch: 4 n floats. */
PC_KERNEL void pc_fourier_complex(float *y, const float *x, const float *table, int n, int given, int real, float sign,
                                  float scale, float *scratch)
{
    float *re = scratch, *im = scratch + n;
    for (int k = 0; k < n; k++) {
        re[k] = k < given ? x[real ? k : 2 * k] : 0.0f;
        im[k] = k < given && !real ? x[2 * k + 1] : 0.0f;
    }
    pc_fourier(re, im, scratch + 2 * n, table, n, n, sign);
    for (int k = 0; k < n; k++) {
        y[2 * k] = re[k] * scale;
        y[2 * k + 1] = im[k] * scale;
    }
}

/* n real numbers, of which `given` are there, to n / 2 + 1 complex ones. Even lengths are transformed as half as many
   complex numbers: the even samples and the odd ones, which come apart afterwards. scratch: 4 n floats. */
PC_KERNEL void pc_fourier_real(float *y, const float *x, const float *table, int n, int given, float scale,
                               float *scratch)
{
    const int half = n / 2, even = n % 2 == 0, points = even ? half : n;
    float *re = scratch, *im = scratch + n;
    for (int k = 0; k < points; k++) {
        const int first = even ? 2 * k : k;
        re[k] = first < given ? x[first] : 0.0f;
        im[k] = even && first + 1 < given ? x[first + 1] : 0.0f;
    }
    pc_fourier(re, im, scratch + 2 * n, table, n, points, -1.0f);
    for (int k = 0; k <= half; k++) {
        /* the ends are real: their angle is 0 or pi, and not minus that for a zero that happened to be negative */
        const int edge = k == 0 || (even && k == half);
        if (!even) {
            y[2 * k] = re[k] * scale;
            y[2 * k + 1] = edge ? 0.0f : im[k] * scale;
            continue;
        }
        const int a = k % half, b = (half - k) % half;
        const float c = table[k], s = table[n + k];
        const float sum_re = re[a] + re[b], sum_im = im[a] - im[b], odd_re = im[a] + im[b], odd_im = re[b] - re[a];
        y[2 * k] = 0.5f * scale * (sum_re + c * odd_re + s * odd_im);
        y[2 * k + 1] = edge ? 0.0f : 0.5f * scale * (sum_im + c * odd_im - s * odd_re);
    }
}

/* The way back: complex numbers `step` apart, of which `given` are there, to n real ones. scratch: 4 n floats. */
PC_KERNEL void pc_fourier_back(float *y, const float *x, const float *table, int n, int given, int step, float scale,
                               float *scratch)
{
    const int half = n / 2, even = n % 2 == 0;
    float *re = scratch, *im = scratch + n, *spare = scratch + 2 * n;
    for (int k = 0; k <= half; k++) {
        const int edge = k == 0 || (even && k == half); /* these are real, whatever stands there */
        spare[k] = k < given ? x[2 * k * step] : 0.0f;
        spare[n + k] = k < given && !edge ? x[2 * k * step + 1] : 0.0f;
    }
    for (int k = 0; k < (even ? half : n); k++) {
        if (!even) {
            re[k] = k <= half ? spare[k] : spare[n - k];
            im[k] = k <= half ? spare[n + k] : -spare[n + n - k];
            continue;
        }
        const float c = table[k], s = table[n + k];
        const float low = spare[k] - spare[half - k], low_im = spare[n + k] + spare[n + half - k];
        const float odd = low * c - low_im * s, odd_im = low * s + low_im * c;
        re[k] = spare[k] + spare[half - k] - odd_im;
        im[k] = spare[n + k] - spare[n + half - k] + odd;
    }
    pc_fourier(re, im, spare, table, n, even ? half : n, 1.0f);
    for (int k = 0; k < n; k++) y[k] = (even ? (k % 2 ? im[k / 2] : re[k / 2]) : re[k]) * scale;
}

/* Windows of n samples, `hop` apart, each times `window`, transformed: (n / 2 + 1, frames) complex numbers.
   scratch: 6 n + 2 floats. */
PC_KERNEL void pc_short_time(float *y, const float *x, const float *window, const float *table, int n, int hop,
                             int frames, float scale, float *scratch)
{
    float *part = scratch + 4 * n, *made = scratch + 5 * n;
    for (int f = 0; f < frames; f++) {
        for (int i = 0; i < n; i++) part[i] = x[f * hop + i] * window[i];
        pc_fourier_real(made, part, table, n, n, scale, scratch);
        for (int k = 0; k <= n / 2; k++) {
            y[2 * (k * frames + f)] = made[2 * k];
            y[2 * (k * frames + f) + 1] = made[2 * k + 1];
        }
    }
}

/* Windows transformed back, each times `window`, added where they overlap and times `weight`: `samples` of them from
   `first` on. scratch: 6 n + (frames - 1) hop floats. */
PC_KERNEL void pc_overlapped(float *y, const float *x, const float *window, const float *weight, const float *table,
                             int n, int hop, int frames, int first, int samples, float scale, float *scratch)
{
    float *part = scratch + 4 * n, *sum = scratch + 5 * n;
    const int length = n + (frames - 1) * hop;
    for (int i = 0; i < length; i++) sum[i] = 0.0f;
    for (int f = 0; f < frames; f++) {
        pc_fourier_back(part, x + 2 * f, table, n, n / 2 + 1, frames, scale, scratch);
        for (int i = 0; i < n; i++) sum[f * hop + i] += part[i] * window[i];
    }
    for (int i = 0; i < samples; i++) y[i] = first + i < length ? sum[first + i] * weight[i] : 0.0f;
}

#endif
