/* The units of recurrent layers from the sums of their gates, where the products are made apart: gate after gate, each
   `units` long, with room for a vector behind the last. out has room for a multiple of 16 floats; what is written behind
   the last unit is finite and means nothing. */
#ifndef PC_UNITS_H
#define PC_UNITS_H
#include "pc_rnn.h"

/* Gates reset, update, new; h' = new + update (h - new). */
PC_INLINE void pc_gru_units(float *out, const float *h, const float *from_x, const float *from_h, int units)
{
    for (int i = 0; i < units; i += PC_WIDTH) {
        const float *x = from_x + i, *u = from_h + i;
        pc_gru_gates(out + i, h + i, pc_load(x) + pc_load(u), pc_load(x + units) + pc_load(u + units),
                     pc_load(u + 2 * units), pc_load(x + 2 * units));
    }
}

/* Gates in, forget, new, out; c is replaced. */
PC_INLINE void pc_lstm_units(float *out, float *c, const float *sums, int units)
{
    for (int i = 0; i < units; i += PC_WIDTH)
        pc_lstm_gates(out + i, c + i, pc_load(sums + i), pc_load(sums + units + i), pc_load(sums + 2 * units + i),
                      pc_load(sums + 3 * units + i));
}

PC_INLINE void pc_plain_units(float *out, const float *sums, int units, int positive)
{
    for (int i = 0; i < units; i += PC_WIDTH) {
        const pc_v sum = pc_load(sums + i);
        pc_store(out + i, positive ? pc_vmax(sum, pc_splat(0.0f)) : pc_vtanh(sum));
    }
}

#endif
