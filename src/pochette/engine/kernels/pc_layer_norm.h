/* Layer normalisation of one row: (x - mean) / sqrt(variance + epsilon) * gain + offset. */
#ifndef PC_LAYER_NORM_H
#define PC_LAYER_NORM_H
#include "pc_math.h"

/* gain and offset may be null. */
PC_KERNEL void pc_layer_norm(float *y, const float *x, const float *gain, const float *offset, int n, float epsilon)
{
    const float mean = pc_sum(x, n) / (float)n;
    float squares = 0.0f;
    for (int i = 0; i < n; i++) {
        y[i] = x[i] - mean;
        squares += y[i] * y[i];
    }
    const float scale = pc_rsqrt(squares / (float)n + epsilon);
    for (int i = 0; i < n; i++) {
        y[i] *= scale;
        if (gain) y[i] *= gain[i];
        if (offset) y[i] += offset[i];
    }
}

#endif
