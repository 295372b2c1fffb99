/* y = W x + b with weights of 8 bits and a scale a row: W = scale[row] * whole numbers from -127 to 127.

   The vector is made whole numbers at every call, with one scale from its largest magnitude. They have more than 8 bits
   (as many as keep a row's sum within 32, up to 16): what a product waits for is memory, that is weights, so the second
   product of a weight is nearly free, and the vector's rounding cannot be heard beside the weights'. Sums are exact, so
   the result is the same on every machine. */
#ifndef PC_INT8_H
#define PC_INT8_H
#include "pc_dot.h"

/* Largest magnitude of the vector's whole numbers: two digits of 8 bits, and rows whose sums fit into 32. */
#define PC_LEVELS(columns) (2147483647 / 127 / (columns) < 32639 ? 2147483647 / 127 / (columns) : 32639)

/* What a vector of whole numbers must be multiplied by, and their sum. */
typedef struct { float scale; int32_t total; } pc_whole;

/* So much and no more may be heard: infinite and NaN come in too. */
PC_INLINE pc_v pc_bounded(const float *x, int k, int columns)
{
    return pc_vclamp(k + PC_WIDTH <= columns ? pc_load(x + k) : pc_load_part(x + k, columns - k), -1e30f, 1e30f);
}

/* x as whole numbers, those behind the last column zero. */
PC_INLINE pc_whole pc_to_whole(pc_digit *to, const float *x, int columns)
{
    pc_v most = pc_splat(0.0f);
    float lanes[PC_WIDTH], top = 0.0f;
    int32_t sums[PC_WIDTH];
    for (int k = 0; k < columns; k += PC_WIDTH) {
        const pc_v here = pc_bounded(x, k, columns);
        most = pc_vmax(pc_vmax(here, -here), most);
    }
    pc_store(lanes, most);
    for (int i = 0; i < PC_WIDTH; i++) top = lanes[i] > top ? lanes[i] : top;

    const float levels = (float)PC_LEVELS(columns);
    const pc_v inverse = pc_splat(top > 1e-30f ? levels / top : 0.0f);
    pc_whole made = {top > 1e-30f ? top / levels : 0.0f, 0};
    pc_i total = pc_to_int(pc_splat(0.0f));
    for (int k = 0; k < PC_FILLED(columns); k += PC_WIDTH) {
        /* 1.5 * 2^23 leaves no fraction: its last bits are the nearest whole number */
        const pc_v here = k < columns ? pc_bounded(x, k, columns) : pc_splat(0.0f);
        const pc_i numbers = pc_as_int(here * inverse + 12582912.0f) - 0x4B400000;
        total += numbers;
        pc_digits(to, k, numbers, columns);
    }
    pc_store_whole(sums, total);
    for (int i = 0; i < PC_WIDTH; i++) made.total += sums[i];
    return made;
}

/* Integer sums of `vectors` times PC_SUM_ROWS rows of a block of `step` rows. */
PC_INLINE void pc_strip8(int32_t *to, const int8_t *w, const pc_digit *x, int32_t first, int columns, int step,
                         int vectors)
{
    pc_sums sums[PC_SUM_MOST];
    PC_UNROLL
    for (int v = 0; v < vectors; v++) sums[v] = pc_sums_begin(first);
    for (int k = 0; k < columns; k += 4, w += 4 * step) {
        const pc_four four = pc_four_at(x, k, columns);
        PC_UNROLL
        for (int v = 0; v < vectors; v++) sums[v] = pc_sums_add(sums[v], w + v * 4 * PC_SUM_ROWS, four);
    }
    PC_UNROLL
    for (int v = 0; v < vectors; v++) pc_sums_end(to + v * PC_SUM_ROWS, sums[v]);
}

/* One block of `step` rows, of which the first `rows` are wanted and written. */
PC_INLINE void pc_block8(float *y, const int8_t *w, const float *scales, const float *b, const pc_digit *x,
                         pc_whole whole, int columns, int step, int rows)
{
    const int32_t first = (int32_t)(0u - PC_WEIGHT_OFFSET * (uint32_t)whole.total);
    const int vectors = step / PC_SUM_ROWS;
    int32_t sums[128];
    int v = 0;
    for (; v + PC_SUM_MOST <= vectors; v += PC_SUM_MOST)
        pc_strip8(sums + v * PC_SUM_ROWS, w + 4 * v * PC_SUM_ROWS, x, first, columns, step, PC_SUM_MOST);
    if (v < vectors)
        pc_strip8(sums + v * PC_SUM_ROWS, w + 4 * v * PC_SUM_ROWS, x, first, columns, step, vectors % PC_SUM_MOST);
    for (int r = 0; r < rows; r += PC_WIDTH) {
        const pc_v made = pc_to_float(pc_load_whole(sums + r)) * (pc_load(scales + r) * whole.scale) + pc_load(b + r);
        if (r + PC_WIDTH <= rows) pc_store(y + r, made);
        else pc_store_part(y + r, made, rows - r);
    }
}

/* w: rows in blocks of `block` (up to 128), each four columns by four, the last one filled up to a multiple of 16;
   scales, b: filled up alike; y: exactly `rows` values are written, b may be y where it is; room: of
   PC_DIGITS(columns). */
PC_INLINE void pc_product8(float *y, const int8_t *w, const float *scales, const float *b, const float *x,
                           pc_digit *room, int columns, int rows, int block)
{
    const pc_whole whole = pc_to_whole(room, x, columns);
    int row = 0;
    for (; row + block <= rows; row += block)
        pc_block8(y + row, w + row * PC_UP4(columns), scales + row, b + row, room, whole, columns, block, block);
    if (row < rows)
        pc_block8(y + row, w + row * PC_UP4(columns), scales + row, b + row, room, whole, columns,
                  PC_FILLED(rows - row), rows - row);
}

#endif
