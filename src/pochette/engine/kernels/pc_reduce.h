/* One number from many: x holds (outer, n, inner) numbers row by row, of which each kernel combines the n in the middle;
   y gets (outer, inner). Sixteen numbers that do not wait for each other go through a loop together: those of sixteen
   neighbours where there are some, else sixteen parts of one long row. */
#ifndef PC_REDUCE_H
#define PC_REDUCE_H
#include "pc_math.h"

enum { PC_STRIP = 16 };

/* Square root of a number that is not negative; that of 0 is 0. */
PC_INLINE float pc_root(float x) { return x * pc_rsqrt(x); }

/* NAME_row combines n neighbours, NAME any axis: `value` is what is made of a number v, `join` what becomes of two of
   those, a and b; `start` changes nothing when joined. */
#define PC_REDUCTION(NAME, start, value, join)                                                                         \
    PC_KERNEL float NAME##_row(const float *x, int n)                                                                  \
    {                                                                                                                  \
        float lane[PC_STRIP];                                                                                          \
        int i = 0;                                                                                                     \
        for (int l = 0; l < PC_STRIP; l++) lane[l] = start;                                                            \
        for (; i + PC_STRIP <= n; i += PC_STRIP) {                                                                     \
            for (int l = 0; l < PC_STRIP; l++) {                                                                       \
                const float v = x[i + l], a = lane[l], b = value;                                                      \
                lane[l] = join;                                                                                        \
            }                                                                                                          \
        }                                                                                                              \
        for (int l = 0; l < PC_STRIP && i < n; i++, l++) {                                                                             \
            const float v = x[i], a = lane[l], b = value;                                                              \
            lane[l] = join;                                                                                            \
        }                                                                                                              \
        for (int half = PC_STRIP / 2; half > 0; half /= 2) {                                                           \
            for (int l = 0; l < half; l++) {                                                                           \
                const float a = lane[l], b = lane[l + half];                                                           \
                lane[l] = join;                                                                                        \
            }                                                                                                          \
        }                                                                                                              \
        return lane[0];                                                                                                \
    }                                                                                                                  \
    PC_KERNEL void NAME(float *y, const float *x, int outer, int n, int inner)                                         \
    {                                                                                                                  \
        for (int o = 0; o < outer; o++, x += n * inner, y += inner) {                                                  \
            if (inner == 1) {                                                                                          \
                *y = NAME##_row(x, n);                                                                                 \
                continue;                                                                                              \
            }                                                                                                          \
            for (int j = 0; j < inner; j++) y[j] = start;                                                              \
            for (int i = 0; i < n; i++) {                                                                              \
                for (int j = 0; j < inner; j++) {                                                                      \
                    const float v = x[i * inner + j], a = y[j], b = value;                                             \
                    y[j] = join;                                                                                       \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }

PC_REDUCTION(pc_sum_of, 0.0f, v, a + b)
PC_REDUCTION(pc_product_of, 1.0f, v, a * b)
PC_REDUCTION(pc_largest_of, -3.40282347e38f, v, a > b ? a : b)
PC_REDUCTION(pc_smallest_of, 3.40282347e38f, v, a < b ? a : b)
PC_REDUCTION(pc_squares_of, 0.0f, v * v, a + b)
PC_REDUCTION(pc_sizes_of, 0.0f, v < 0.0f ? -v : v, a + b)
PC_REDUCTION(pc_largest_size_of, 0.0f, v < 0.0f ? -v : v, a > b ? a : b)

/* Sum of squared distances from `centre`. */
PC_KERNEL float pc_scatter_row(const float *x, int n, float centre)
{
    float lane[PC_STRIP] = {0.0f};
    int i = 0;
    for (; i + PC_STRIP <= n; i += PC_STRIP)
        for (int l = 0; l < PC_STRIP; l++) lane[l] += (x[i + l] - centre) * (x[i + l] - centre);
    for (int l = 0; l < PC_STRIP && i < n; i++, l++) lane[l] += (x[i] - centre) * (x[i] - centre);
    return pc_sum(lane, PC_STRIP);
}

/* Variance, and the mean: squares of distances from the mean, over `weight` = 1 / (n - correction). */
PC_KERNEL void pc_variance(float *y, float *mean, const float *x, int outer, int n, int inner, float weight)
{
    pc_sum_of(mean, x, outer, n, inner);
    for (int i = 0; i < outer * inner; i++) mean[i] /= (float)n;
    for (int o = 0; o < outer; o++, x += n * inner, y += inner, mean += inner) {
        if (inner == 1) {
            *y = pc_scatter_row(x, n, *mean) * weight;
            continue;
        }
        for (int j = 0; j < inner; j++) y[j] = 0.0f;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < inner; j++) y[j] += (x[i * inner + j] - mean[j]) * (x[i * inner + j] - mean[j]);
        for (int j = 0; j < inner; j++) y[j] *= weight;
    }
}

/* Logarithm of the sum of exponentials. */
PC_KERNEL void pc_log_sum_of(float *y, const float *x, int outer, int n, int inner)
{
    for (int o = 0; o < outer; o++, x += n * inner, y += inner) {
        for (int j = 0; j < inner; j++) {
            float top = x[j], total = 0.0f;
            for (int i = 1; i < n; i++) top = pc_max(top, x[i * inner + j]);
            for (int i = 0; i < n; i++) total += pc_exp(x[i * inner + j] - top);
            y[j] = top + pc_log(total);
        }
    }
}

/* The largest number times `sign`, which is 1 or -1, and the first place at which it stands. */
PC_KERNEL void pc_find_largest(uint32_t *place, float *value, const float *x, int outer, int n, int inner, float sign)
{
    for (int o = 0; o < outer; o++, x += n * inner) {
        for (int j = 0; j < inner; j++) {
            float best = x[j];
            uint32_t at = 0;
            for (int i = 1; i < n; i++) {
                const float v = x[i * inner + j];
                if (v * sign > best * sign) {
                    best = v;
                    at = (uint32_t)i;
                }
            }
            place[o * inner + j] = at;
            value[o * inner + j] = best;
        }
    }
}

#endif
