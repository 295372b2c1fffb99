/* Products of two matrices that are both computed: y = a b, with any distances between rows and columns.

   Sixteen columns of b that stand side by side meet one number of a at a time, and their sums stay in registers; where
   the columns of b do not stand side by side its rows must, and every result is an inner product. */
#ifndef PC_MULTIPLY_H
#define PC_MULTIPLY_H
#include "pc_reduce.h"

/* Distances between neighbours in memory, in floats. */
typedef struct {
    int y_row, a_row, a_sum, b_sum, b_column;
} pc_distances;

PC_INLINE float pc_inner(const float *a, const float *b, int n)
{
    float lane[PC_STRIP] = {0.0f};
    int i = 0;
    for (; i + PC_STRIP <= n; i += PC_STRIP)
        for (int l = 0; l < PC_STRIP; l++) lane[l] += a[i + l] * b[i + l];
    for (int l = 0; l < PC_STRIP && i < n; i++, l++) lane[l] += a[i] * b[i];
    return pc_sum(lane, PC_STRIP);
}

PC_INLINE void pc_multiply_strip(float *y, const float *a, const float *b, int n, int a_sum, int b_sum)
{
    float sum[PC_STRIP] = {0.0f};
    for (int k = 0; k < n; k++) {
        const float factor = a[k * a_sum];
        for (int j = 0; j < PC_STRIP; j++) sum[j] += factor * b[k * b_sum + j];
    }
    for (int j = 0; j < PC_STRIP; j++) y[j] = sum[j];
}

/* a: (rows, n), b: (n, columns), y: (rows, columns), columns of y side by side. Either the columns of b stand side by
   side, or what is summed does, in both a and b. */
PC_KERNEL void pc_multiply(float *y, const float *a, const float *b, int rows, int n, int columns, pc_distances d)
{
    const int whole = d.b_column == 1 ? columns / PC_STRIP * PC_STRIP : 0;
    for (int r = 0; r < rows; r++, y += d.y_row, a += d.a_row) {
        for (int c = 0; c < whole; c += PC_STRIP) pc_multiply_strip(y + c, a, b + c, n, d.a_sum, d.b_sum);
        for (int c = whole; c < columns; c++) {
            float sum = 0.0f;
            if (d.b_sum == 1 && d.a_sum == 1) sum = pc_inner(a, b + c * d.b_column, n);
            else for (int k = 0; k < n; k++) sum += a[k * d.a_sum] * b[k * d.b_sum + c * d.b_column];
            y[c] = sum;
        }
    }
}

#endif
