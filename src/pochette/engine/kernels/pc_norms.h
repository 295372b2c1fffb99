/* Normalisations: statistics taken out of parts of a tensor, then a learnt gain and offset. */
#ifndef PC_NORMS_H
#define PC_NORMS_H
#include "pc_reduce.h"

/* Mean and variance over the last axis taken out of every row; gain and offset of n numbers each, or null. */
PC_KERNEL void pc_norm_rows(float *y, const float *x, const float *gain, const float *offset, int rows, int n,
                            float epsilon)
{
    for (int r = 0; r < rows; r++, x += n, y += n) {
        const float mean = pc_sum_of_row(x, n) / (float)n;
        const float scale = pc_rsqrt(pc_scatter_row(x, n, mean) / (float)n + epsilon);
        for (int i = 0; i < n; i++) y[i] = (x[i] - mean) * scale;
        if (gain) for (int i = 0; i < n; i++) y[i] *= gain[i];
        if (offset) for (int i = 0; i < n; i++) y[i] += offset[i];
    }
}

/* x / sqrt(mean of x^2 + epsilon) over the last axis, times the gain. */
PC_KERNEL void pc_rms_rows(float *y, const float *x, const float *gain, int rows, int n, float epsilon)
{
    for (int r = 0; r < rows; r++, x += n, y += n) {
        const float scale = pc_rsqrt(pc_squares_of_row(x, n) / (float)n + epsilon);
        for (int i = 0; i < n; i++) y[i] = x[i] * scale;
        if (gain) for (int i = 0; i < n; i++) y[i] *= gain[i];
    }
}

/* Mean and variance over each of `groups` groups of channels of `length` numbers each; gain and offset of one number a
   channel, or null. With a group a channel this is instance normalisation. */
PC_KERNEL void pc_norm_groups(float *y, const float *x, const float *gain, const float *offset, int batch, int channels,
                              int length, int groups, float epsilon)
{
    const int members = channels / groups, n = members * length;
    for (int group = 0; group < batch * groups; group++) {
        const float mean = pc_sum_of_row(x, n) / (float)n;
        const float root = pc_rsqrt(pc_scatter_row(x, n, mean) / (float)n + epsilon);
        for (int member = 0; member < members; member++, x += length, y += length) {
            const int channel = group % groups * members + member;
            const float scale = gain ? root * gain[channel] : root;
            const float shift = offset ? offset[channel] : 0.0f;
            for (int i = 0; i < length; i++) y[i] = (x[i] - mean) * scale + shift;
        }
    }
}

/* Every channel times a number, plus another. */
PC_KERNEL void pc_scale_channels(float *y, const float *x, const float *scale, const float *shift, int batch,
                                 int channels, int length)
{
    for (int b = 0; b < batch; b++)
        for (int c = 0; c < channels; c++, x += length, y += length)
            for (int i = 0; i < length; i++) y[i] = x[i] * scale[c] + shift[c];
}

/* w = g v / |v|: v of (outer, n, inner) numbers, a length g for each of the n. */
PC_KERNEL void pc_weight_norm(float *w, const float *v, const float *g, int outer, int n, int inner)
{
    for (int i = 0; i < n; i++) {
        float squares = 0.0f;
        for (int o = 0; o < outer; o++) squares += pc_squares_of_row(v + (o * n + i) * inner, inner);
        const float scale = g[i] * pc_rsqrt(squares);
        for (int o = 0; o < outer; o++)
            for (int j = 0; j < inner; j++) w[(o * n + i) * inner + j] = v[(o * n + i) * inner + j] * scale;
    }
}

#endif
