/* y = W x + b on packed weights: blocks of 16 rows, each stored column by column, so that one value of x meets 16
   weights that stand side by side and the 16 sums stay in registers. */
#ifndef PC_LINEAR_H
#define PC_LINEAR_H
#include "pc_math.h"

enum { PC_ROWS = 16 };

#if defined(__GNUC__)
#if defined(__AVX512F__)
enum { PC_WIDTH = 16 };
#elif defined(__AVX__)
enum { PC_WIDTH = 8 };
#else
enum { PC_WIDTH = 4 };
#endif
enum { PC_VECTORS = PC_ROWS / PC_WIDTH };
/* Less strictly aligned than its size, and allowed to alias the floats it is loaded from. */
typedef float pc_vector __attribute__((vector_size(PC_WIDTH * 4), aligned(4), may_alias));

/* Sums of one block of rows; b holds 16 values. */
PC_INLINE void pc_block(float *y, const float *w, const float *b, const float *x, int columns)
{
    pc_vector sum[PC_VECTORS];
    for (int v = 0; v < PC_VECTORS; v++) sum[v] = *(const pc_vector *)(b + v * PC_WIDTH);
    for (int k = 0; k < columns; k++) {
        const float xk = x[k];
        for (int v = 0; v < PC_VECTORS; v++) sum[v] += *(const pc_vector *)(w + v * PC_WIDTH) * xk;
        w += PC_ROWS;
    }
    for (int v = 0; v < PC_VECTORS; v++) *(pc_vector *)(y + v * PC_WIDTH) = sum[v];
}
#else
PC_INLINE void pc_block(float *y, const float *w, const float *b, const float *x, int columns)
{
    float sum[PC_ROWS];
    for (int r = 0; r < PC_ROWS; r++) sum[r] = b[r];
    for (int k = 0; k < columns; k++) {
        for (int r = 0; r < PC_ROWS; r++) sum[r] += w[r] * x[k];
        w += PC_ROWS;
    }
    for (int r = 0; r < PC_ROWS; r++) y[r] = sum[r];
}
#endif

/* w: packed; b: filled up to whole blocks; y: exactly `rows` values are written. */
PC_KERNEL void pc_linear(float *y, const float *w, const float *b, const float *x, int columns, int rows)
{
    int row = 0;
    for (; row + PC_ROWS <= rows; row += PC_ROWS) pc_block(y + row, w + row * columns, b + row, x, columns);
    if (row < rows) {
        float rest[PC_ROWS];
        pc_block(rest, w + row * columns, b + row, x, columns);
        pc_copy(y + row, rest, rows - row);
    }
}

#endif
