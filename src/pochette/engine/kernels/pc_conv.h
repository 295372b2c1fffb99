/* Convolution over time, in two forms: planar, where each channel's samples lie side by side (many samples at once), and
   by rows, where each sample's channels do (many channels, few samples; transposed convolutions too). */
#ifndef PC_CONV_H
#define PC_CONV_H
#include "pc_linear.h"

/* Outputs that share what is loaded of the input; weights are packed in blocks of four. */
enum { PC_OUTPUTS = 4 };

/* `outs` outputs (at most 4) of `count` vectors of samples: all sums in registers.
   w: [tap][input][outs]; out and add: `os` and `as` floats from output to output; in: `is` floats from input to input.
   What is below 0 in the end is multiplied by `slope`. */
PC_INLINE void pc_conv_tile(float *out, const float *in, const float *w, const float *b, const float *add, int outs,
                            int blocks, int ins, int taps, int count, int os, int is, int as, int dilation,
                            int adding, float slope)
{
    pc_v sum[PC_SUMS];
    const int sums = outs * blocks;
    PC_UNROLL
    for (int o = 0; o < sums; o++) {
        PC_UNROLL
        for (int v = 0; v < count; v++) {
            sum[o * count + v] = pc_splat(b[o]);
            if (adding) sum[o * count + v] += pc_load(add + o * as + v * PC_WIDTH);
        }
    }
    for (int k = 0; k < taps; k++) {
        PC_BY_FOUR
        for (int i = 0; i < ins; i++) {
            const float *from = in + k * dilation + i * is;
            pc_v x[PC_SUMS];
            PC_UNROLL
            for (int v = 0; v < count; v++) {
                x[v] = pc_load(from + v * PC_WIDTH);
                if (sums > 1) PC_HELD(x[v]);
            }
            PC_UNROLL
            for (int block = 0; block < blocks; block++) {
                PC_UNROLL
                for (int o = 0; o < outs; o++) {
                    PC_FOUR(weight, w + block * taps * ins * outs);
                    PC_UNROLL
                    for (int v = 0; v < count; v++) sum[(block * outs + o) * count + v] += weight[o] * x[v];
                    PC_UNROLL
                    for (int v = 0; v < count; v++) PC_AFTER(w, sum[(block * outs + o) * count + v]);
                }
            }
            w += outs;
        }
    }
    PC_UNROLL
    for (int o = 0; o < sums; o++) {
        PC_UNROLL
        for (int v = 0; v < count; v++)
            pc_store(out + o * os + v * PC_WIDTH, pc_vrectified(sum[o * count + v], slope));
    }
}

/* The same for all samples: as many vectors at once as registers allow, and the rest of them; samples left over are made
   by a vector that overlaps the last. */
PC_INLINE void pc_conv_outputs(float *out, const float *in, const float *w, const float *b, const float *add, int outs,
                               int blocks, int ins, int taps, int samples, int os, int is, int as, int dilation,
                               int adding, float slope)
{
    const int most = PC_SUMS / (outs * blocks), vectors = samples / PC_WIDTH;
    const int several = most >= 4 ? 4 : PC_WIDTH == 8 ? most : most >= 2 ? 2 : 1;
    const int count = vectors <= most ? vectors : vectors % most == 0 ? most : several;
    const int whole = vectors / count * count * PC_WIDTH, left = vectors % count, last = samples - PC_WIDTH;
    for (int t = 0; t < whole; t += count * PC_WIDTH)
        pc_conv_tile(out + t, in + t, w, b, adding ? add + t : add, outs, blocks, ins, taps, count, os, is, as, dilation,
                     adding, slope);
    if (left)
        pc_conv_tile(out + whole, in + whole, w, b, adding ? add + whole : add, outs, blocks, ins, taps, left, os, is, as,
                     dilation, adding, slope);
    if (samples % PC_WIDTH)
        pc_conv_tile(out + last, in + last, w, b, adding ? add + last : add, outs, blocks, ins, taps, 1, os, is, as,
                     dilation, adding, slope);
}

/* out[o][t] = b[o] + sum over k and i of w[o][i][k] in[i][t + k dilation], and add[o][t] if `adding`.
   Rows of out, in and add are os, is and as floats apart; add only if `adding`. At least 16 samples. What is below 0 in
   the end is multiplied by `slope`: 1 leaves it. */
PC_INLINE void pc_conv(float *out, const float *in, const float *w, const float *b, const float *add, int os, int is,
                       int as, int dilation, int outs, int ins, int taps, int samples, int adding, float slope)
{
    const int at_once = PC_SUMS >= 4 * PC_OUTPUTS && PC_WIDTH > 1 ? 2 : 1;
    int o = 0;
    for (; o + at_once * PC_OUTPUTS <= outs; o += at_once * PC_OUTPUTS)
        pc_conv_outputs(out + o * os, in, w + o * ins * taps, b + o, adding ? add + o * as : add, PC_OUTPUTS, at_once,
                        ins, taps, samples, os, is, as, dilation, adding, slope);
    for (; o + PC_OUTPUTS <= outs; o += PC_OUTPUTS)
        pc_conv_outputs(out + o * os, in, w + o * ins * taps, b + o, adding ? add + o * as : add, PC_OUTPUTS, 1, ins,
                        taps, samples, os, is, as, dilation, adding, slope);
    if (o < outs)
        pc_conv_outputs(out + o * os, in, w + o * ins * taps, b + o, adding ? add + o * as : add, outs % PC_OUTPUTS, 1,
                        ins, taps, samples, os, is, as, dilation, adding, slope);
}

/* `count` rows of up to PC_SUMS / count vectors of outputs. w: [tap][input][block], from there on.
   What is below 0 in the end is multiplied by `slope`. */
PC_INLINE void pc_rows_tile(float *out, const float *in, const float *w, const float *b, const float *add, int width,
                            int block, int ins, int taps, int count, int os, int is, int as, int dilation,
                            int adding, float slope)
{
    pc_v sum[PC_SUMS];
    const int vectors = (width + PC_WIDTH - 1) / PC_WIDTH;
    PC_UNROLL
    for (int r = 0; r < count; r++) {
        PC_UNROLL
        for (int v = 0; v < vectors; v++) {
            sum[r * vectors + v] = pc_load(b + v * PC_WIDTH);
            if (adding && (v + 1) * PC_WIDTH <= width) sum[r * vectors + v] += pc_load(add + r * as + v * PC_WIDTH);
            else if (adding) sum[r * vectors + v] += pc_load_part(add + r * as + v * PC_WIDTH, width - v * PC_WIDTH);
        }
    }
    for (int k = 0; k < taps; k++) {
        const float *from = in + k * dilation;
        PC_BY_FOUR
        for (int i = 0; i < ins; i++) {
            pc_v held[PC_SUMS];
            if (PC_WIDTH == 8 && count > 1 && count < vectors) {
                PC_UNROLL
                for (int r = 0; r < count; r++) {
                    held[r] = pc_splat(from[r * is + i]);
                    PC_HELD(held[r]);
                }
                PC_UNROLL
                for (int v = 0; v < vectors; v++) {
                    const pc_v weight = pc_load(w + v * PC_WIDTH);
                    PC_UNROLL
                    for (int r = 0; r < count; r++) sum[r * vectors + v] += weight * held[r];
                }
            } else {
                PC_UNROLL
                for (int v = 0; v < vectors; v++) {
                    held[v] = pc_load(w + v * PC_WIDTH);
                    if (count > 1) PC_HELD(held[v]);
                }
                PC_UNROLL
                for (int r = 0; r < count; r++) {
                    PC_UNROLL
                    for (int v = 0; v < vectors; v++) sum[r * vectors + v] += held[v] * from[r * is + i];
                }
            }
            w += block;
        }
    }
    PC_UNROLL
    for (int r = 0; r < count; r++) {
        PC_UNROLL
        for (int v = 0; v < vectors; v++) {
            const pc_v made = pc_vrectified(sum[r * vectors + v], slope);
            if ((v + 1) * PC_WIDTH <= width) pc_store(out + r * os + v * PC_WIDTH, made);
            else pc_store_part(out + r * os + v * PC_WIDTH, made, width - v * PC_WIDTH);
        }
    }
}

/* A strip of one block for all rows. */
PC_INLINE void pc_rows_strip(float *out, const float *in, const float *w, const float *b, const float *add, int os,
                             int is, int as, int dilation, int width, int block, int ins, int taps, int rows, int most,
                             int adding, float slope)
{
    const int count = rows < most ? rows : most, whole = rows / count * count, rest = rows - whole;
    for (int t = 0; t < whole; t += count)
        pc_rows_tile(out + t * os, in + t * is, w, b, adding ? add + t * as : add, width, block, ins, taps, count, os, is,
                     as, dilation, adding, slope);
    if (rest)
        pc_rows_tile(out + whole * os, in + whole * is, w, b, adding ? add + whole * as : add, width, block, ins, taps,
                     rest, os, is, as, dilation, adding, slope);
}

/* One block of outputs, in strips of as many vectors as registers hold for several rows. */
PC_INLINE void pc_rows_block(float *out, const float *in, const float *w, const float *b, const float *add, int os,
                             int is, int as, int dilation, int here, int block, int ins, int taps, int rows, int adding,
                             float slope)
{
    const int vectors = (here + PC_WIDTH - 1) / PC_WIDTH;
    /* a weight that is read meets many rows, and a row's number many weights: that is read as often as it is used,
       unless the processor takes it from memory as a factor */
    const int many = PC_WIDTH == 1 || (PC_WIDTH == 8 && vectors > 1) ? 4 : 8;
    const int count = rows >= many ? many : rows >= 4 ? 4 : rows;
    const int most = PC_SUMS / count, strips = (vectors + most - 1) / most;
    const int width = (vectors + strips - 1) / strips * PC_WIDTH;
    int u = 0;
    for (; u + width <= here; u += width)
        pc_rows_strip(out + u, in, w + u, b + u, adding ? add + u : add, os, is, as, dilation, width, block, ins, taps,
                      rows, count, adding, slope);
    if (u < here)
        pc_rows_strip(out + u, in, w + u, b + u, adding ? add + u : add, os, is, as, dilation, here - here / width * width,
                      block, ins, taps, rows, count, adding, slope);
}

/* out[t][o] = b[o] + sum over k and i of w[o][i][k] in[t][k dilation + i], and add[t][o] if `adding`.
   Rows of out, in and add are os, is and as floats apart (is: stride times channels); taps are dilation floats apart.
   w: pack_rows of (output, tap and input) in blocks, which hold `stored` taps, from the first tap wanted on. What is
   below 0 in the end is multiplied by `slope`: 1 leaves it. */
PC_INLINE void pc_rows(float *out, const float *in, const float *w, const float *b, const float *add, int os, int is,
                       int as, int dilation, int outs, int ins, int taps, int rows, int block, int stored,
                       int adding, float slope)
{
    int o = 0;
    for (; o + block <= outs; o += block)
        pc_rows_block(out + o, in, w + o * ins * stored, b + o, adding ? add + o : add, os, is, as, dilation, block, block,
                      ins, taps, rows, adding, slope);
    if (o < outs)
        pc_rows_block(out + o, in, w + o * ins * stored, b + o, adding ? add + o : add, os, is, as, dilation, outs % block,
                      (outs % block + 15) / 16 * 16, ins, taps, rows, adding, slope);
}

#endif
