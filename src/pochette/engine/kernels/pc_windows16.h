/* Convolution with weights of 16 bits, widened once for several windows; the arithmetic is that of 32-bit floats. */
#ifndef PC_WINDOWS16_H
#define PC_WINDOWS16_H
#include "pc_half.h"
#include "pc_windows.h"

/* `rows` rows of a block of `step` for `windows` windows, two sums each in registers; x: `apart` floats each. */
PC_INLINE void pc_windows16_strip(float *out, const uint16_t *w, const float *b, const float *add, const float *x,
                                  int os,
                                  int as, int apart, int columns, int step, int rows, int kind, int windows,
                                  int adding)
{
    pc_v even[PC_SUMS], odd[PC_SUMS];
    const int vectors = (rows + PC_WIDTH - 1) / PC_WIDTH;
    int k = 0;
    PC_UNROLL
    for (int i = 0; i < windows * vectors; i++) {
        even[i] = pc_load(b + i / windows * PC_WIDTH);
        odd[i] = pc_splat(0.0f);
    }
    for (; k + 1 < columns; k += 2, w += 2 * step) {
        PC_UNROLL
        for (int v = 0; v < vectors; v++) {
            const pc_v first = pc_even_column(w, v * PC_WIDTH, kind);
            const pc_v last = pc_odd_column(w, v * PC_WIDTH, step, kind);
            PC_UNROLL
            for (int i = 0; i < windows; i++) {
                even[v * windows + i] += first * x[i * apart + k];
                odd[v * windows + i] += last * x[i * apart + k + 1];
            }
        }
    }
    if (k < columns) {
        PC_UNROLL
        for (int i = 0; i < windows * vectors; i++)
            even[i] += pc_even_column(w, i / windows * PC_WIDTH, kind) * x[i % windows * apart + k];
    }
    PC_UNROLL
    for (int i = 0; i < windows * vectors; i++) {
        const int r = i / windows * PC_WIDTH, part = r + PC_WIDTH > rows;
        pc_v sum = even[i] + odd[i];
        if (adding && part) sum += pc_load_part(add + i % windows * as + r, rows - r);
        else if (adding) sum += pc_load(add + i % windows * as + r);
        if (part) pc_store_part(out + i % windows * os + r, sum, rows - r);
        else pc_store(out + i % windows * os + r, sum);
    }
}

/* One block of `step` rows, of which the first `rows` are wanted. */
PC_INLINE void pc_windows16_block(float *out, const uint16_t *w, const float *b, const float *add, const float *x,
                                  int os,
                                  int as, int apart, int columns, int step, int rows, int kind, int windows,
                                  int adding)
{
    const int width = PC_SUMS / 2 / windows * PC_WIDTH, wide = kind == PC_BFLOAT16 ? 2 : 1;
    int r = 0;
    for (; r + width <= rows; r += width)
        pc_windows16_strip(out + r, w + wide * r, b + r, adding ? add + r : add, x, os, as, apart, columns, step,
                           width,
                           kind, windows, adding);
    if (r < rows)
        pc_windows16_strip(out + r, w + wide * r, b + r, adding ? add + r : add, x, os, as, apart, columns, step,
                           rows - r,
                           kind, windows, adding);
}

/* One window or PC_WINDOWS. */
PC_INLINE void pc_windows16_some(float *out, const float *in, const uint16_t *w, const float *b, const float *add,
                                 float *room, int os, int is, int as, int dilation, int outs, int ins, int taps,
                                 int block,
                                 int kind, int adding, int windows)
{
    const int columns = ins * taps, even = (columns + 1) / 2 * 2;
    const float *x = in;
    int o = 0, apart = is;
    if (dilation != ins && taps > 1) {
        for (int i = 0; i < windows; i++) pc_window(room + i * columns, in + i * is, ins, taps, dilation);
        x = room;
        apart = columns;
    }
    for (; o + block <= outs; o += block)
        pc_windows16_block(out + o, w + o * even, b + o, adding ? add + o : add, x, os, as, apart, columns, block,
                           block,
                           kind, windows, adding);
    if (o < outs)
        pc_windows16_block(out + o, w + o * even, b + o, adding ? add + o : add, x, os, as, apart, columns,
                           (outs - o + PC_ROWS - 1) / PC_ROWS * PC_ROWS, outs - o, kind, windows, adding);
}

/* The arguments of pc_windows8, of weights as in pc_product16; room: of PC_WINDOWS * ins * taps. */
PC_INLINE void pc_windows16(float *out, const float *in, const uint16_t *w, const float *b, const float *add,
                            float *room,
                            int os, int is, int as, int dilation, int outs, int ins, int taps, int rows, int block,
                            int kind, int adding)
{
    const int whole = rows / PC_WINDOWS * PC_WINDOWS, rest = rows - whole;
    for (int t = 0; t < whole; t += PC_WINDOWS)
        pc_windows16_some(out + t * os, in + t * is, w, b, adding ? add + t * as : add, room, os, is, as, dilation,
                          outs,
                          ins, taps, block, kind, adding, PC_WINDOWS);
    for (int t = whole; t < whole + rest; t++)
        pc_windows16_some(out + t * os, in + t * is, w, b, adding ? add + t * as : add, room, os, is, as, dilation,
                          outs,
                          ins, taps, block, kind, adding, 1);
}

#endif
