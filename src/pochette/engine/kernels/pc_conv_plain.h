/* Convolution over up to three axes, plain or transposed, with weights from anywhere: simple loops for what no faster
   kernel covers. */
#ifndef PC_CONV_PLAIN_H
#define PC_CONV_PLAIN_H
#include "pc_math.h"

/* Place along one axis of the input that tap k of output p meets; -1 if there is none. */
PC_INLINE int pc_place_of(int p, int k, int stride, int padding, int dilation, int length, int transposed)
{
    const int q = transposed ? p + padding - k * dilation : p * stride - padding + k * dilation;
    if (!transposed) return q >= 0 && q < length ? q : -1;
    return q >= 0 && q % stride == 0 && q / stride < length ? q / stride : -1;
}

/* x: (voice, group, ins, x0, x1, x2); out: (voice, group, outs, y0, y1, y2);
   w: (group, outs, ins, k0, k1, k2), or if transposed (group, ins, outs, k0, k1, k2); b: (group, outs), or 0. */
PC_INLINE void pc_conv_plain(float *out, const float *x, const float *w, const float *b, int voices, int groups, int ins,
                             int outs, int transposed, int x0, int x1, int x2, int y0, int y1, int y2, int k0, int k1,
                             int k2, int s0, int s1, int s2, int p0, int p1, int p2, int d0, int d1, int d2)
{
    const int taps = k0 * k1 * k2, size = x0 * x1 * x2;
    for (int vg = 0; vg < voices * groups; vg++) {
        const float *weights = w + vg % groups * ins * outs * taps;
        for (int o = 0; o < outs; o++) {
            for (int y = 0; y < y0 * y1 * y2; y++) {
                float sum = b ? b[vg % groups * outs + o] : 0.0f;
                for (int k = 0; k < taps; k++) {
                    const int at0 = pc_place_of(y / (y1 * y2), k / (k1 * k2), s0, p0, d0, x0, transposed);
                    const int at1 = pc_place_of(y / y2 % y1, k / k2 % k1, s1, p1, d1, x1, transposed);
                    const int at2 = pc_place_of(y % y2, k % k2, s2, p2, d2, x2, transposed);
                    if (at0 < 0 || at1 < 0 || at2 < 0) continue;
                    const float *from = x + vg * ins * size + (at0 * x1 + at1) * x2 + at2;
                    const float *tap = weights + (transposed ? o : o * ins) * taps + k;
                    const int step = (transposed ? outs : 1) * taps;
                    for (int i = 0; i < ins; i++) sum += tap[i * step] * from[i * size];
                }
                out[(vg * outs + o) * y0 * y1 * y2 + y] = sum;
            }
        }
    }
}

#endif
