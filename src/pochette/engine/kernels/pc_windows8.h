/* Convolution with weights of 8 bits: every window is made whole numbers, as a vector of a product is. */
#ifndef PC_WINDOWS8_H
#define PC_WINDOWS8_H
#include "pc_int8.h"
#include "pc_windows.h"

/* Windows whose sums fit into registers beside each other. */
#define PC_WINDOWS8 (PC_SUM_MOST >= 2 * PC_WINDOWS ? PC_WINDOWS : 2)

/* Integer sums of `vectors` times PC_SUM_ROWS rows of a block of `step` rows,
for PC_WINDOWS8 windows; `to` and `x` have
   128 and `apart` numbers for each. */
PC_INLINE void pc_windows8_strip(int32_t *to, const int8_t *w, const pc_digit *x, const int32_t *first, int columns,
                                 int step, int vectors, int apart)
{
    pc_sums sums[PC_SUM_MOST];
    PC_UNROLL
    for (int i = 0; i < vectors * PC_WINDOWS8; i++) sums[i] = pc_sums_begin(first[i % PC_WINDOWS8]);
    for (int k = 0; k < columns; k += 4, w += 4 * step) {
        pc_four four[PC_WINDOWS8];
        PC_UNROLL
        for (int i = 0; i < PC_WINDOWS8; i++) four[i] = pc_four_at(x + i * apart, k, columns);
        PC_UNROLL
        for (int i = 0; i < vectors * PC_WINDOWS8; i++)
            sums[i] = pc_sums_add(sums[i], w + i / PC_WINDOWS8 * 4 * PC_SUM_ROWS, four[i % PC_WINDOWS8]);
    }
    PC_UNROLL
    for (int i = 0; i < vectors * PC_WINDOWS8; i++)
        pc_sums_end(to + i % PC_WINDOWS8 * 128 + i / PC_WINDOWS8 * PC_SUM_ROWS, sums[i]);
}

/* The same of a whole block, for one window or PC_WINDOWS8. */
PC_INLINE void pc_windows8_sums(int32_t *to, const int8_t *w, const pc_digit *x, const int32_t *first, int columns,
                                int step, int apart, int windows)
{
    const int all = step / PC_SUM_ROWS, most = windows > 1 ? PC_SUM_MOST / PC_WINDOWS8 : PC_SUM_MOST;
    int v = 0;
    for (; v + most <= all; v += most) {
        if (windows > 1)
            pc_windows8_strip(to + v * PC_SUM_ROWS, w + 4 * v * PC_SUM_ROWS, x, first, columns, step, most, apart);
        else pc_strip8(to + v * PC_SUM_ROWS, w + 4 * v * PC_SUM_ROWS, x, *first, columns, step, most);
    }
    if (v == all) return;
    if (windows > 1)
        pc_windows8_strip(to + v * PC_SUM_ROWS, w + 4 * v * PC_SUM_ROWS, x, first, columns, step, all % most, apart);
    else pc_strip8(to + v * PC_SUM_ROWS, w + 4 * v * PC_SUM_ROWS, x, *first, columns, step, all % most);
}

/* One block of `step` rows, of which the first `rows` are wanted, for one window or PC_WINDOWS8. */
PC_INLINE void pc_windows8_block(float *out, const int8_t *w, const float *scales, const float *b, const float *add,
                                 const pc_digit *x, const pc_whole *whole, int os, int as, int columns, int step,
                                 int rows, int windows, int adding)
{
    int32_t sums[128 * PC_WINDOWS8], first[PC_WINDOWS8];
    for (int i = 0; i < windows; i++) first[i] = (int32_t)(0u - PC_WEIGHT_OFFSET * (uint32_t)whole[i].total);
    pc_windows8_sums(sums, w, x, first, columns, step, PC_DIGITS(columns), windows);
    for (int i = 0; i < windows; i++) {
        for (int r = 0; r < rows; r += PC_WIDTH) {
            const pc_v each = pc_load(scales + r) * whole[i].scale;
            pc_v made = pc_to_float(pc_load_whole(sums + 128 * i + r)) * each + pc_load(b + r);
            const int part = r + PC_WIDTH > rows;
            if (adding && part) made += pc_load_part(add + i * as + r, rows - r);
            else if (adding) made += pc_load(add + i * as + r);
            if (part) pc_store_part(out + i * os + r, made, rows - r);
            else pc_store(out + i * os + r, made);
        }
    }
}

/* One window or PC_WINDOWS8. */
PC_INLINE void pc_windows8_some(float *out, const float *in, const int8_t *w, const float *scales, const float *b,
                                const float *add, float *room, pc_digit *digits, int os, int is, int as, int dilation,
                                int outs, int ins, int taps, int block, int adding, int windows)
{
    const int columns = ins * taps;
    pc_whole whole[PC_WINDOWS8];
    int o = 0;
    for (int i = 0; i < windows; i++) {
        const float *window = pc_window(room, in + i * is, ins, taps, dilation);
        whole[i] = pc_to_whole(digits + i * PC_DIGITS(columns), window, columns);
    }
    for (; o + block <= outs; o += block)
        pc_windows8_block(out + o, w + o * PC_UP4(columns), scales + o, b + o, adding ? add + o : add, digits,
                          whole, os,
                          as, columns, block, block, windows, adding);
    if (o < outs)
        pc_windows8_block(out + o, w + o * PC_UP4(columns), scales + o, b + o, adding ? add + o : add, digits,
                          whole, os,
                          as, columns, PC_FILLED(outs - o), outs - o, windows, adding);
}

/* out[t][o] = b[o] + sum over k and i of w[o][k][i] in[t][k dilation + i], and add[t][o] if `adding`; w as in
   pc_product8, columns by tap and input. Rows of out, in and add are os, is and as floats apart. room: of ins * taps;
   digits: of PC_WINDOWS8 * PC_DIGITS(ins * taps). */
PC_INLINE void pc_windows8(float *out, const float *in, const int8_t *w, const float *scales, const float *b,
                           const float *add, float *room, pc_digit *digits, int os, int is, int as, int dilation,
                           int outs, int ins, int taps, int rows, int block, int adding)
{
    const int whole = rows / PC_WINDOWS8 * PC_WINDOWS8, rest = rows - whole;
    for (int t = 0; t < whole; t += PC_WINDOWS8)
        pc_windows8_some(out + t * os, in + t * is, w, scales, b, adding ? add + t * as : add, room, digits, os,
                         is, as,
                         dilation, outs, ins, taps, block, adding, PC_WINDOWS8);
    for (int t = whole; t < whole + rest; t++)
        pc_windows8_some(out + t * os, in + t * is, w, scales, b, adding ? add + t * as : add, room, digits, os,
                         is, as,
                         dilation, outs, ins, taps, block, adding, 1);
}

#endif
