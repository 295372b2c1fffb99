/* Exponentials along an axis, divided by their sum: x and y hold (outer, n, inner) numbers, the axis is the middle one.
   Strips of sixteen neighbours go through the axis together. */
#ifndef PC_SOFTMAX_H
#define PC_SOFTMAX_H
#include "pc_reduce.h"

/* One row; y may be x. */
PC_KERNEL void pc_softmax_row(float *y, const float *x, int n)
{
    const float top = pc_largest_of_row(x, n);
    for (int i = 0; i < n; i++) y[i] = pc_exp(x[i] - top);
    const float scale = 1.0f / pc_sum_of_row(y, n);
    for (int i = 0; i < n; i++) y[i] *= scale;
}

/* top, total: of a strip of `width` columns that are `inner` apart from row to row. */
PC_INLINE void pc_strip_totals(float *top, float *total, float *y, const float *x, int n, int inner, int width)
{
    for (int j = 0; j < width; j++) {
        top[j] = x[j];
        total[j] = 0.0f;
    }
    for (int i = 1; i < n; i++)
        for (int j = 0; j < width; j++) top[j] = pc_max(top[j], x[i * inner + j]);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < width; j++) {
            y[i * inner + j] = pc_exp(x[i * inner + j] - top[j]);
            total[j] += y[i * inner + j];
        }
    }
}

PC_KERNEL void pc_softmax(float *y, const float *x, int outer, int n, int inner)
{
    float top[PC_STRIP], total[PC_STRIP];
    for (int o = 0; o < outer; o++, x += n * inner, y += n * inner) {
        if (inner == 1) {
            pc_softmax_row(y, x, n);
            continue;
        }
        for (int first = 0; first < inner; first += PC_STRIP) {
            const int width = inner - first < PC_STRIP ? inner - first : PC_STRIP;
            pc_strip_totals(top, total, y + first, x + first, n, inner, width);
            for (int i = 0; i < n; i++)
                for (int j = 0; j < width; j++) y[first + i * inner + j] /= total[j];
        }
    }
}

/* Logarithms of the same, without the detour over numbers that are too small. */
PC_KERNEL void pc_log_softmax(float *y, const float *x, int outer, int n, int inner)
{
    float top[PC_STRIP], total[PC_STRIP];
    for (int o = 0; o < outer; o++, x += n * inner, y += n * inner) {
        for (int first = 0; first < inner; first += PC_STRIP) {
            const int width = inner - first < PC_STRIP ? inner - first : PC_STRIP;
            pc_strip_totals(top, total, y + first, x + first, n, inner, width);
            for (int j = 0; j < width; j++) total[j] = pc_log(total[j]);
            for (int i = 0; i < n; i++)
                for (int j = 0; j < width; j++)
                    y[first + i * inner + j] = (x[first + i * inner + j] - top[j]) - total[j];
        }
    }
}

#endif
