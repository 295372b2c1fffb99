/* Largest number or mean of windows of a plane, and values between the numbers of a row.

   Where windows begin, how many numbers they hold and what each weighs stands in a table, three floats an index of the
   result: so one kernel serves padding, cut windows and windows of unequal length. */
#ifndef PC_POOL_H
#define PC_POOL_H
#include "pc_math.h"

/* x: (planes, height, width), y: (planes, rows, columns). row, column: tables of first index, length and weight. Numbers
   of a window are `row_step` and `column_step` apart. Largest of each window, or their weighted sum if `mean`. */
PC_KERNEL void pc_pool(float *y, const float *x, const float *row, const float *column, int planes, int height,
                       int width, int rows, int columns, int row_step, int column_step, int mean)
{
    for (int p = 0; p < planes; p++, x += height * width) {
        for (int r = 0; r < rows; r++) {
            for (int c = 0; c < columns; c++) {
                const float *from = x + (int)row[3 * r] * width + (int)column[3 * c];
                const int tall = (int)row[3 * r + 1], wide = (int)column[3 * c + 1];
                float best = -3.40282347e38f, sum = 0.0f;
                for (int i = 0; i < tall; i++) {
                    for (int j = 0; j < wide; j++) {
                        const float v = from[i * row_step * width + j * column_step];
                        sum += v;
                        best = pc_max(best, v);
                    }
                }
                *y++ = mean ? sum * row[3 * r + 2] * column[3 * c + 2] : best;
            }
        }
    }
}

/* Every result is a sum of `taps` numbers of the middle axis of (outer, n, inner), each times a weight: x becomes
   (outer, wanted, inner). table: an index and a weight for each tap of each result. */
PC_KERNEL void pc_interpolate(float *y, const float *x, const float *table, int taps, int outer, int n, int wanted,
                              int inner)
{
    for (int o = 0; o < outer; o++, x += n * inner) {
        for (int i = 0; i < wanted; i++, y += inner) {
            for (int j = 0; j < inner; j++) y[j] = 0.0f;
            for (int t = 0; t < taps; t++) {
                const float *from = x + (int)table[2 * (i * taps + t)] * inner;
                const float weight = table[2 * (i * taps + t) + 1];
                for (int j = 0; j < inner; j++) y[j] += weight * from[j];
            }
        }
    }
}

#endif
