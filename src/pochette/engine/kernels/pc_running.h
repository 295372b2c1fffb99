/* Sums and products of all that came before, along the middle axis of (outer, n, inner) numbers.

   Sums carry what each addition rounded off (Kahan), so that a phase may run over a long row: the error is that of the
   last rounding, however many came before. Whole numbers wrap at 2^32, as a phase of 2^32 units to the cycle should. */
#ifndef PC_RUNNING_H
#define PC_RUNNING_H
#include "pc_reduce.h"

PC_KERNEL void pc_running_sum(float *y, const float *x, int outer, int n, int inner)
{
    float sum[PC_STRIP], lost[PC_STRIP];
    for (int o = 0; o < outer; o++, x += n * inner, y += n * inner) {
        for (int first = 0; first < inner; first += PC_STRIP) {
            const int width = inner - first < PC_STRIP ? inner - first : PC_STRIP;
            for (int j = 0; j < width; j++) sum[j] = lost[j] = 0.0f;
            for (int i = first; i < n * inner; i += inner) {
                for (int j = 0; j < width; j++) {
                    const float more = x[i + j] - lost[j];
                    const float next = sum[j] + more;
                    lost[j] = (next - sum[j]) - more;
                    y[i + j] = sum[j] = next;
                }
            }
        }
    }
}

PC_KERNEL void pc_running_product(float *y, const float *x, int outer, int n, int inner)
{
    for (int o = 0; o < outer; o++, x += n * inner, y += n * inner) {
        pc_copy(y, x, inner);
        for (int i = inner; i < n * inner; i++) y[i] = y[i - inner] * x[i];
    }
}

PC_KERNEL void pc_running_count(uint32_t *y, const uint32_t *x, int outer, int n, int inner)
{
    for (int o = 0; o < outer; o++, x += n * inner, y += n * inner) {
        for (int j = 0; j < inner; j++) y[j] = x[j];
        for (int i = inner; i < n * inner; i++) y[i] = y[i - inner] + x[i];
    }
}

/* The largest so far times `sign`, which is 1 or -1, and the last place at which it stood. */
PC_KERNEL void pc_running_largest(float *y, uint32_t *place, const float *x, int outer, int n, int inner, float sign)
{
    for (int o = 0; o < outer; o++, x += n * inner, y += n * inner, place += n * inner) {
        for (int j = 0; j < inner; j++) {
            float best = x[j];
            uint32_t at = 0;
            for (int i = 0; i < n; i++) {
                if (x[i * inner + j] * sign >= best * sign) {
                    best = x[i * inner + j];
                    at = (uint32_t)i;
                }
                y[i * inner + j] = best;
                place[i * inner + j] = at;
            }
        }
    }
}

#endif
