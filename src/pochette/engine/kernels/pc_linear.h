/* y = W x + b on packed weights. Rows of W lie in blocks, and a block column by column, so that one value of x meets
   weights that stand side by side and the sums of many rows stay in registers. */
#ifndef PC_LINEAR_H
#define PC_LINEAR_H
#include "pc_simd.h"

/* Rows of matrices and lengths of vectors are filled up to multiples of this. */
enum { PC_ROWS = 16 };

/* `vectors` vectors of sums over `columns` columns that are `step` floats apart, onto those in `sum`. */
PC_INLINE void pc_accumulate(pc_v *sum, const float *w, const float *x, int columns, int step, int vectors)
{
    for (int k = 0; k < columns; k++) {
        const pc_v xk = pc_splat(x[k]);
        PC_UNROLL
        for (int v = 0; v < vectors; v++) sum[v] += pc_load(w + v * PC_WIDTH) * xk;
        w += step;
    }
}

/* The same with the even and the odd columns apart: twice as many sums in flight, where rows are few. */
PC_INLINE void pc_accumulate_pairs(pc_v *sum, const float *w, const float *x, int columns, int step, int vectors)
{
    pc_v odd[PC_SUMS];
    PC_UNROLL
    for (int v = 0; v < vectors; v++) odd[v] = pc_splat(0.0f);
    for (int k = 0; k + 1 < columns; k += 2) {
        const pc_v even_x = pc_splat(x[k]), odd_x = pc_splat(x[k + 1]);
        PC_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[v] += pc_load(w + v * PC_WIDTH) * even_x;
            odd[v] += pc_load(w + step + v * PC_WIDTH) * odd_x;
        }
        w += 2 * step;
    }
    if (columns & 1) pc_accumulate(sum, w, x + columns - 1, 1, step, vectors);
    PC_UNROLL
    for (int v = 0; v < vectors; v++) sum[v] += odd[v];
}

/* One strip of a block: `rows` of it, all sums in registers. */
PC_INLINE void pc_strip(float *y, const float *w, const float *b, const float *x, int columns, int step, int rows,
                        int pairs)
{
    pc_v sum[PC_SUMS];
    const int vectors = (rows + PC_WIDTH - 1) / PC_WIDTH;
    PC_UNROLL
    for (int v = 0; v < vectors; v++) sum[v] = pc_load(b + v * PC_WIDTH);
    if (pairs) pc_accumulate_pairs(sum, w, x, columns, step, vectors);
    else pc_accumulate(sum, w, x, columns, step, vectors);
    PC_UNROLL
    for (int v = 0; v < vectors; v++) {
        if ((v + 1) * PC_WIDTH <= rows) pc_store(y + v * PC_WIDTH, sum[v]);
        else pc_store_part(y + v * PC_WIDTH, sum[v], rows - v * PC_WIDTH);
    }
}

/* One block of `block` rows, of which the first `rows` are wanted and written. */
PC_INLINE void pc_block(float *y, const float *w, const float *b, const float *x, int columns, int block, int rows,
                        int pairs)
{
    /* as many strips of equal width as the registers ask for */
    const int limit = (pairs ? PC_SUMS / 2 : PC_SUMS) * PC_WIDTH;
    const int strips = (rows + limit - 1) / limit;
    const int vectors = (rows + PC_WIDTH - 1) / PC_WIDTH;
    const int width = (vectors + strips - 1) / strips * PC_WIDTH;
    int row = 0;
    for (; row + width <= rows; row += width) pc_strip(y + row, w + row, b + row, x, columns, block, width, pairs);
    if (row < rows) pc_strip(y + row, w + row, b + row, x, columns, block, rows - row, pairs);
}

/* Whether a block of 64 rows has too few vectors to hide each other's waiting. */
#if PC_WIDTH == 16 && !defined(PC_STRICT)
#define PC_FEW_SUMS 1
#else
#define PC_FEW_SUMS 0
#endif

/* w: rows in blocks of `block`, the last one filled up to a multiple of 16; b: filled up alike; y: exactly `rows`
   values are written. pairs: whether two sums a row hide each other's waiting. */
PC_INLINE void pc_product(float *y, const float *w, const float *b, const float *x, int columns, int rows, int block,
                          int pairs)
{
    const int two = pairs || (PC_FEW_SUMS && block <= 64 && columns >= 8);
    int row = 0;
    for (; row + block <= rows; row += block)
        pc_block(y + row, w + row * columns, b + row, x, columns, block, block, two);
    if (row < rows) {
        const int rest = (rows - row + PC_ROWS - 1) / PC_ROWS * PC_ROWS;
        pc_block(y + row, w + row * columns, b + row, x, columns, rest, rows - row, two);
    }
}

/* The same with blocks of 16 rows, whose sizes need not be known to the compiler. */
PC_KERNEL void pc_linear(float *y, const float *w, const float *b, const float *x, int columns, int rows)
{
    int row = 0;
    for (; row + PC_ROWS <= rows; row += PC_ROWS)
        pc_strip(y + row, w + row * columns, b + row, x, columns, PC_ROWS, PC_ROWS, 0);
    if (row < rows) {
        float rest[PC_ROWS];
        pc_strip(rest, w + row * columns, b + row, x, columns, PC_ROWS, PC_ROWS, 0);
        pc_copy(y + row, rest, rows - row);
    }
}

/* Sum of 16 floats, pairwise: the same order whatever the width of vectors. */
PC_INLINE float pc_sum16(const float *p)
{
    float eight[8], four[4];
    for (int i = 0; i < 8; i++) eight[i] = p[i] + p[i + 8];
    for (int i = 0; i < 4; i++) four[i] = eight[i] + eight[i + 4];
    return (four[0] + four[2]) + (four[1] + four[3]);
}

/* Few rows of many columns, each row a scalar product; w: row by row, as it is. Sixteen running sums a row. */
PC_INLINE void pc_dots(float *y, const float *w, const float *b, const float *x, int columns, int rows)
{
    for (int r = 0; r < rows; r++) {
        const float *row = w + r * columns;
        pc_v sum[16 / PC_WIDTH];
        float lanes[16];
        int k = 0;
        PC_UNROLL
        for (int v = 0; v < 16 / PC_WIDTH; v++) sum[v] = pc_splat(0.0f);
        for (; k + 16 <= columns; k += 16) {
            PC_UNROLL
            for (int v = 0; v < 16 / PC_WIDTH; v++)
                sum[v] += pc_load(row + k + v * PC_WIDTH) * pc_load(x + k + v * PC_WIDTH);
        }
        int i = 0;
#if PC_WIDTH > 1
        for (; k + i + PC_WIDTH <= columns; i += PC_WIDTH) sum[i / PC_WIDTH] += pc_load(row + k + i) * pc_load(x + k + i);
#endif
        PC_UNROLL
        for (int v = 0; v < 16 / PC_WIDTH; v++) pc_store(lanes + v * PC_WIDTH, sum[v]);
        for (; k + i < columns; i++) lanes[i] += row[k + i] * x[k + i];
        y[r] = b[r] + pc_sum16(lanes);
    }
}

#endif
