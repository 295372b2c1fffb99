/* One step of a gated recurrent layer; gates in the order reset, update, new. */
#ifndef PC_GRU_H
#define PC_GRU_H
#include "pc_linear.h"

/* gates: room for two times 3 * units, each filled up to whole blocks. out may be h. */
PC_KERNEL void pc_gru(float *out, const float *h, const float *x, const float *w, const float *bw, const float *u,
                      const float *bu, int inputs, int units, float *gates)
{
    const int rows = (3 * units + PC_ROWS - 1) / PC_ROWS * PC_ROWS;
    float *from_x = gates, *from_h = gates + rows;
    pc_linear(from_x, w, bw, x, inputs, rows);
    pc_linear(from_h, u, bu, h, units, rows);
    for (int i = 0; i < units; i++) {
        const float reset = pc_sigmoid(from_x[i] + from_h[i]);
        const float update = pc_sigmoid(from_x[units + i] + from_h[units + i]);
        const float fresh = pc_tanh(from_x[2 * units + i] + reset * from_h[2 * units + i]);
        out[i] = fresh + update * (h[i] - fresh);
    }
}

#endif
