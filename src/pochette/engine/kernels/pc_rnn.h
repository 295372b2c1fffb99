/* One step of recurrent layers. The units of a layer are parted in groups. In a group the weights of all gates stand side
   by side, gate after gate, column by column, so that the sums of a unit's gates meet in registers.

   Packed weights of a group of `lanes` units, one after the other:
     biases [gates][lanes], and of a GRU the recurrent bias of its new gate [lanes]
     input  [inputs][step], a column being [gates][lanes] filled up to a multiple of 16 floats
     state  [units][step]
   Groups have 64 units, then one of a multiple of 16, then one of 4 or 8; see pochette.engine.packing.

   h, c and out have room for a multiple of 16 floats; what is written behind the last unit is finite and means nothing.
   out may not be h. */
#ifndef PC_RNN_H
#define PC_RNN_H
#include "pc_linear.h"

#define PC_GROUP 64
#define PC_UP16(n) (((n) + 15) / 16 * 16)

/* Whether a matrix of so few rows shall have two sums a row. One-float vectors have sums enough; but all machines must
   add in the same order where they are to agree to the bit. */
#if PC_WIDTH > 1 || defined(PC_STRICT)
#define PC_PAIRS(rows, columns) ((rows) <= 64 && (columns) >= 8)
#else
#define PC_PAIRS(rows, columns) 0
#endif

/* Whether so many vectors of units have the gates made one after the other, of a GRU, or two and two, of an LSTM: a
   processor that works ahead makes the functions of the first while it sums the next, and registers hold more units. Few
   vectors have too few sums in flight, and so have the wide ones of a large group. An LSTM adds in another order then. */
#if PC_WIDTH == 8
#define PC_GRU_GATEWISE(vectors) ((vectors) > 1)
#elif PC_WIDTH == 16
#define PC_GRU_GATEWISE(vectors) ((vectors) > 1 && (vectors) < PC_GROUP / PC_WIDTH)
#else
#define PC_GRU_GATEWISE(vectors) 0
#endif
#if PC_WIDTH == 8 && !defined(PC_STRICT)
#define PC_LSTM_GATEWISE(vectors) ((vectors) > 3)
#else
#define PC_LSTM_GATEWISE(vectors) 0
#endif

/* Whether a GRU's reset and update are summed together, and its new gate after them. It adds in another order. */
#if PC_WIDTH == 8 && !defined(PC_STRICT)
#define PC_GRU_IN_TWO(vectors) ((vectors) > 1 && (vectors) <= 4)
#else
#define PC_GRU_IN_TWO(vectors) 0
#endif

/* Whether a GRU's gates have two sums a unit. */
#if PC_WIDTH >= 8 || defined(PC_STRICT)
#define PC_GRU_PAIRS(lanes, columns) ((lanes) < PC_GROUP && (columns) >= 8)
#else
#define PC_GRU_PAIRS(lanes, columns) PC_PAIRS(3 * (lanes), columns)
#endif

/* Sums of one gate, `step` floats from column to column. */
PC_INLINE void pc_one_gate(pc_v *sum, const float *b, const float *w, const float *u, const float *x, const float *h,
                           int inputs, int state, int step, int count, int pairs)
{
    PC_UNROLL
    for (int v = 0; v < count; v++) sum[v] = pc_load(b + v * PC_WIDTH);
    pc_accumulate(sum, w, x, inputs, step, count);
    if (pairs) pc_accumulate_pairs(sum, u, h, state, step, count);
    else pc_accumulate(sum, u, h, state, step, count);
}

/* One column of weights, `lanes` floats from gate to gate, onto `gates` times `count` vectors of sums. */
PC_INLINE void pc_gate_column(pc_v *sum, const float *w, float x, int gates, int lanes, int count)
{
    const pc_v xk = pc_splat(x);
    PC_UNROLL
    for (int v = 0; v < gates * count; v++) sum[v] += pc_load(w + v / count * lanes + v % count * PC_WIDTH) * xk;
}

/* Sums of `gates` times `count` vectors of units, `lanes` floats from gate to gate and `step` from column to column. */
PC_INLINE void pc_gate_sums(pc_v *sum, const float *w, const float *x, int columns, int gates, int lanes, int step,
                            int count, int pairs)
{
    pc_v odd[PC_SUMS];
    int k = 0;
    if (pairs) {
        PC_UNROLL
        for (int v = 0; v < gates * count; v++) odd[v] = pc_splat(0.0f);
        for (; k + 1 < columns; k += 2, w += 2 * step) {
            const pc_v even_x = pc_splat(x[k]), odd_x = pc_splat(x[k + 1]);
            PC_UNROLL
            for (int v = 0; v < gates * count; v++) {
                const float *at = w + v / count * lanes + v % count * PC_WIDTH;
                sum[v] += pc_load(at) * even_x;
                odd[v] += pc_load(at + step) * odd_x;
            }
        }
    }
#if PC_WIDTH == 1
    for (; k + 1 < columns; k += 2) {
        pc_gate_column(sum, w, x[k], gates, lanes, count);
        w += step;
        PC_NEAR(w);
        pc_gate_column(sum, w, x[k + 1], gates, lanes, count);
        w += step;
        PC_NEAR(w);
    }
#endif
    PC_BY_FOUR
    for (; k < columns; k++, w += step) pc_gate_column(sum, w, x[k], gates, lanes, count);
    if (pairs) {
        PC_UNROLL
        for (int v = 0; v < gates * count; v++) sum[v] += odd[v];
    }
}

/* Vectors of units whose gates' sums fit into registers together. */
PC_INLINE int pc_gate_count(int units, int gates, int pairs)
{
    const int vectors = (units + PC_WIDTH - 1) / PC_WIDTH, limit = PC_SUMS / ((gates + 1) * (pairs ? 2 : 1));
    const int strips = (vectors + limit - 1) / limit;
    return (vectors + strips - 1) / strips;
}

PC_INLINE void pc_gru_gates(float *out, const float *h, pc_v reset, pc_v update, pc_v fresh_h, pc_v fresh_x)
{
    const pc_v fresh = pc_vtanh(fresh_x + pc_vgate(reset) * fresh_h);
    pc_store(out, fresh + pc_vgate(update) * (pc_load(h) - fresh));
}

PC_INLINE void pc_gru_strip(float *out, const float *mine, const float *h, const float *x, const float *b, const float *w,
                            const float *u, int inputs, int units, int lanes, int count)
{
    pc_v sum[PC_SUMS], fresh[PC_SUMS];
    const int step = PC_UP16(3 * lanes), pairs = PC_GRU_PAIRS(lanes, units);
    PC_UNROLL
    for (int v = 0; v < 3 * count; v++) sum[v] = pc_load(b + v / count * lanes + v % count * PC_WIDTH);
    pc_gate_sums(sum, w, x, inputs, 3, lanes, step, count, 0);
    PC_UNROLL
    for (int v = 0; v < count; v++) {
        fresh[v] = sum[2 * count + v];
        sum[2 * count + v] = pc_load(b + 3 * lanes + v * PC_WIDTH);
    }
    pc_gate_sums(sum, u, h, units, 3, lanes, step, count, pairs);
    PC_UNROLL
    for (int v = 0; v < count; v++)
        pc_gru_gates(out + v * PC_WIDTH, mine + v * PC_WIDTH, sum[v], sum[count + v], sum[2 * count + v], fresh[v]);
}

/* The same, gate by gate, the one that others wait for first. */
PC_INLINE void pc_gru_gatewise(float *out, const float *mine, const float *h, const float *x, const float *b,
                               const float *w, const float *u, int inputs, int units, int lanes, int count)
{
    pc_v reset[PC_SUMS], update[PC_SUMS], fresh_h[PC_SUMS], fresh_x[PC_SUMS];
    const int step = PC_UP16(3 * lanes), pairs = PC_GRU_PAIRS(lanes, units);
    pc_one_gate(reset, b, w, u, x, h, inputs, units, step, count, pairs);
    PC_UNROLL
    for (int v = 0; v < count; v++) {
        reset[v] = pc_vgate(reset[v]);
        PC_PUT_BY(reset[v]);
    }
    pc_one_gate(update, b + lanes, w + lanes, u + lanes, x, h, inputs, units, step, count, pairs);
    pc_one_gate(fresh_h, b + 3 * lanes, w, u + 2 * lanes, x, h, 0, units, step, count, pairs);
    pc_one_gate(fresh_x, b + 2 * lanes, w + 2 * lanes, u, x, h, inputs, 0, step, count, 0);
    PC_UNROLL
    for (int v = 0; v < count; v++) {
        const pc_v fresh = pc_vtanh(fresh_x[v] + reset[v] * fresh_h[v]);
        pc_store(out + v * PC_WIDTH, fresh + pc_vgate(update[v]) * (pc_load(mine + v * PC_WIDTH) - fresh));
    }
}

/* The same with two gates together and then the third: each number of h is loaded twice and not three times. */
PC_INLINE void pc_gru_in_two(float *out, const float *mine, const float *h, const float *x, const float *b, const float *w,
                             const float *u, int inputs, int units, int lanes, int count)
{
    pc_v gate[PC_SUMS], fresh_h[PC_SUMS], fresh_x[PC_SUMS];
    const int step = PC_UP16(3 * lanes), pairs = PC_GRU_PAIRS(lanes, units);
    PC_UNROLL
    for (int v = 0; v < 2 * count; v++) gate[v] = pc_load(b + v / count * lanes + v % count * PC_WIDTH);
    pc_gate_sums(gate, w, x, inputs, 2, lanes, step, count, 0);
    pc_gate_sums(gate, u, h, units, 2, lanes, step, count, 0);
    PC_UNROLL
    for (int v = 0; v < 2 * count; v++) {
        gate[v] = pc_vgate(gate[v]);
        PC_PUT_BY(gate[v]);
    }
    pc_one_gate(fresh_h, b + 3 * lanes, w, u + 2 * lanes, x, h, 0, units, step, count, pairs);
    pc_one_gate(fresh_x, b + 2 * lanes, w + 2 * lanes, u, x, h, inputs, 0, step, count, 0);
    PC_UNROLL
    for (int v = 0; v < count; v++) {
        const pc_v fresh = pc_vtanh(fresh_x[v] + gate[v] * fresh_h[v]);
        pc_store(out + v * PC_WIDTH, fresh + gate[count + v] * (pc_load(mine + v * PC_WIDTH) - fresh));
    }
}

/* A group narrower than a vector: the gates' sums lie side by side in few vectors, and part in memory. */
PC_INLINE void pc_gru_narrow(float *out, const float *mine, const float *h, const float *x, const float *b,
                             const float *w, const float *u, int inputs, int units, int lanes)
{
    float from_x[48], from_h[48];
    const int step = PC_UP16(3 * lanes), pairs = PC_GRU_PAIRS(lanes, units);
    pc_strip(from_x, w, b, x, inputs, step, step, 0);
    pc_copy(from_h, from_x, 2 * lanes);
    pc_copy(from_h + 2 * lanes, b + 3 * lanes, lanes);
    pc_copy(from_h + 3 * lanes, b, step - 3 * lanes);
    pc_strip(from_h, u, from_h, h, units, step, step, pairs);
    pc_copy(from_h + step, b, 48 - step);
    pc_gru_gates(out, mine, pc_load(from_h), pc_load(from_h + lanes), pc_load(from_h + 2 * lanes),
                 pc_load(from_x + 2 * lanes));
}

/* Units `here` of a group; the others of its lanes are filling. */
PC_INLINE void pc_gru_group(float *out, const float *mine, const float *h, const float *x, const float *p, int inputs,
                            int units, int lanes, int here)
{
    const float *w = p + 4 * lanes, *u = w + inputs * PC_UP16(3 * lanes);
    if (lanes < PC_WIDTH) {
        pc_gru_narrow(out, mine, h, x, p, w, u, inputs, units, lanes);
        return;
    }
    const int vectors = (here + PC_WIDTH - 1) / PC_WIDTH;
    if (PC_GRU_IN_TWO(vectors)) {
        pc_gru_in_two(out, mine, h, x, p, w, u, inputs, units, lanes, vectors);
        return;
    }
    if (PC_GRU_GATEWISE(vectors)) {
        pc_gru_gatewise(out, mine, h, x, p, w, u, inputs, units, lanes, vectors);
        return;
    }
    const int count = pc_gate_count(here, 3, PC_GRU_PAIRS(lanes, units)), width = count * PC_WIDTH;
    int i = 0;
    for (; i + width <= here; i += width)
        pc_gru_strip(out + i, mine + i, h, x, p + i, w + i, u + i, inputs, units, lanes, count);
    if (i < here)
        pc_gru_strip(out + i, mine + i, h, x, p + i, w + i, u + i, inputs, units, lanes,
                     (here - i + PC_WIDTH - 1) / PC_WIDTH);
}

PC_INLINE void pc_lstm_gates(float *out, float *c, pc_v in, pc_v forget, pc_v fresh, pc_v show)
{
    const pc_v cell = pc_vgate(forget) * pc_load(c) + pc_vgated_tanh(in, fresh);
    pc_store(c, cell);
    pc_store(out, pc_vgated_tanh(show, cell));
}

PC_INLINE void pc_lstm_strip(float *out, float *c, const float *h, const float *x, const float *b, const float *w,
                             const float *u, int inputs, int state, int lanes, int count)
{
    pc_v sum[PC_SUMS];
    const int step = PC_UP16(4 * lanes);
    PC_UNROLL
    for (int v = 0; v < 4 * count; v++) sum[v] = pc_load(b + v / count * lanes + v % count * PC_WIDTH);
    pc_gate_sums(sum, w, x, inputs, 4, lanes, step, count, 0);
    pc_gate_sums(sum, u, h, state, 4, lanes, step, count, PC_PAIRS(4 * lanes, state));
    PC_UNROLL
    for (int v = 0; v < count; v++)
        pc_lstm_gates(out + v * PC_WIDTH, c + v * PC_WIDTH, sum[v], sum[count + v], sum[2 * count + v],
                      sum[3 * count + v]);
}

/* Two gates' sums, from the first of them on, which have another between them. */
PC_INLINE void pc_lstm_two(pc_v *sum, const float *b, const float *w, const float *u, const float *x, const float *h,
                           int inputs, int state, int lanes, int count)
{
    const int step = PC_UP16(4 * lanes);
    PC_UNROLL
    for (int v = 0; v < 2 * count; v++) sum[v] = pc_load(b + v / count * 2 * lanes + v % count * PC_WIDTH);
    pc_gate_sums(sum, w, x, inputs, 2, 2 * lanes, step, count, 0);
    pc_gate_sums(sum, u, h, state, 2, 2 * lanes, step, count, 0);
}

/* As pc_lstm_strip, two gates at a time: what the cell takes in, and then what it forgets and shows. */
PC_INLINE void pc_lstm_gatewise(float *out, float *c, const float *h, const float *x, const float *b, const float *w,
                                const float *u, int inputs, int state, int lanes, int count)
{
    pc_v in[PC_SUMS], rest[PC_SUMS];
    pc_lstm_two(in, b, w, u, x, h, inputs, state, lanes, count);
    PC_UNROLL
    for (int v = 0; v < count; v++) {
        in[v] = pc_vgated_tanh(in[v], in[count + v]);
        PC_PUT_BY(in[v]);
    }
    pc_lstm_two(rest, b + lanes, w + lanes, u + lanes, x, h, inputs, state, lanes, count);
    PC_UNROLL
    for (int v = 0; v < count; v++) {
        in[v] = pc_vgate(rest[v]) * pc_load(c + v * PC_WIDTH) + in[v];
        pc_store(c + v * PC_WIDTH, in[v]);
    }
    PC_UNROLL
    for (int v = 0; v < count; v++) pc_store(out + v * PC_WIDTH, pc_vgated_tanh(rest[count + v], in[v]));
}

PC_INLINE void pc_lstm_group(float *out, float *c, const float *h, const float *x, const float *p, int inputs, int state,
                             int lanes, int here)
{
    const float *w = p + 4 * lanes, *u = w + inputs * PC_UP16(4 * lanes);
    if (lanes < PC_WIDTH) {
        float sums[48];
        const int step = PC_UP16(4 * lanes);
        pc_strip(sums, w, p, x, inputs, step, step, 0);
        pc_strip(sums, u, sums, h, state, step, step, PC_PAIRS(4 * lanes, state));
        pc_copy(sums + step, p, 48 - step);
        pc_lstm_gates(out, c, pc_load(sums), pc_load(sums + lanes), pc_load(sums + 2 * lanes), pc_load(sums + 3 * lanes));
        return;
    }
    const int vectors = (here + PC_WIDTH - 1) / PC_WIDTH;
    if (PC_LSTM_GATEWISE(vectors)) {
        const int strips = (2 * vectors + PC_SUMS - 1) / PC_SUMS, count = (vectors + strips - 1) / strips;
        int v = 0;
        for (; v + count <= vectors; v += count)
            pc_lstm_gatewise(out + v * PC_WIDTH, c + v * PC_WIDTH, h, x, p + v * PC_WIDTH, w + v * PC_WIDTH,
                             u + v * PC_WIDTH, inputs, state, lanes, count);
        if (v < vectors)
            pc_lstm_gatewise(out + v * PC_WIDTH, c + v * PC_WIDTH, h, x, p + v * PC_WIDTH, w + v * PC_WIDTH,
                             u + v * PC_WIDTH, inputs, state, lanes, vectors - v);
        return;
    }
    const int count = pc_gate_count(here, 4, PC_PAIRS(4 * lanes, state)), width = count * PC_WIDTH;
    int i = 0;
    for (; i + width <= here; i += width)
        pc_lstm_strip(out + i, c + i, h, x, p + i, w + i, u + i, inputs, state, lanes, count);
    if (i < here)
        pc_lstm_strip(out + i, c + i, h, x, p + i, w + i, u + i, inputs, state, lanes,
                      (here - i + PC_WIDTH - 1) / PC_WIDTH);
}

/* Units of the last groups: those in whole sixteens, and from 1 to 8 in a narrow one. */
PC_INLINE int pc_wide_units(int left) { return left % 16 > 8 ? left : left / 16 * 16; }
PC_INLINE int pc_narrow_lanes(int here) { return here <= 4 ? 4 : 8; }

/* Floats of a packed group: its biases, and a column for each input and each unit. */
PC_INLINE int pc_packed(int lanes, int gates, int columns) { return 4 * lanes + columns * PC_UP16(gates * lanes); }

/* The functions of a narrow group's few units keep nobody waiting if others follow. On aarch64 it costs GCC registers. */
#define PC_NARROW_FIRST (PC_WIDTH != 4)

/* Gates reset, update, new; h' = new + update (h - new). */
PC_INLINE void pc_gru(float *out, const float *h, const float *x, const float *p, int inputs, int units)
{
    const int full = units / PC_GROUP * PC_GROUP, wide = pc_wide_units(units - full), narrow = units - full - wide;
    for (int i = 0; i < full; i += PC_GROUP) {
        pc_gru_group(out + i, h + i, h, x, p, inputs, units, PC_GROUP, PC_GROUP);
        p += pc_packed(PC_GROUP, 3, inputs + units);
    }
    const float *last = p + pc_packed(PC_UP16(wide), 3, inputs + units);
    if (narrow && PC_NARROW_FIRST)
        pc_gru_group(out + full + wide, h + full + wide, h, x, last, inputs, units, pc_narrow_lanes(narrow), narrow);
    if (wide) pc_gru_group(out + full, h + full, h, x, p, inputs, units, PC_UP16(wide), wide);
    if (narrow && !PC_NARROW_FIRST)
        pc_gru_group(out + full + wide, h + full + wide, h, x, last, inputs, units, pc_narrow_lanes(narrow), narrow);
}

/* Gates in, forget, new, out; c is replaced, out is out * tanh(c'). state: length of h, which is not units where the
   output is projected. */
PC_INLINE void pc_lstm(float *out, float *c, const float *h, const float *x, const float *p, int inputs, int units,
                       int state)
{
    const int full = units / PC_GROUP * PC_GROUP, wide = pc_wide_units(units - full), narrow = units - full - wide;
    for (int i = 0; i < full; i += PC_GROUP) {
        pc_lstm_group(out + i, c + i, h, x, p, inputs, state, PC_GROUP, PC_GROUP);
        p += pc_packed(PC_GROUP, 4, inputs + state);
    }
    const float *last = p + pc_packed(PC_UP16(wide), 4, inputs + state);
    if (narrow && PC_NARROW_FIRST)
        pc_lstm_group(out + full + wide, c + full + wide, h, x, last, inputs, state, pc_narrow_lanes(narrow), narrow);
    if (wide) pc_lstm_group(out + full, c + full, h, x, p, inputs, state, PC_UP16(wide), wide);
    if (narrow && !PC_NARROW_FIRST)
        pc_lstm_group(out + full + wide, c + full + wide, h, x, last, inputs, state, pc_narrow_lanes(narrow), narrow);
}

/* One step of a plain layer: h' = tanh(W x + U h + b), or the positive part. w and u: in one block each. out has room
   for a multiple of 16 floats and may not be h. */
PC_INLINE void pc_rnn(float *out, const float *h, const float *x, const float *w, const float *u, const float *b,
                      int inputs, int units, int positive)
{
    const int rows = PC_UP16(units);
    pc_product(out, w, b, x, inputs, rows, rows, 0);
    pc_product(out, u, out, h, units, rows, rows, PC_PAIRS(rows, units));
    for (int i = 0; i < units; i += PC_WIDTH) {
        const pc_v sum = pc_load(out + i);
        pc_store(out + i, positive ? pc_vmax(sum, pc_splat(0.0f)) : pc_vtanh(sum));
    }
}

#endif
