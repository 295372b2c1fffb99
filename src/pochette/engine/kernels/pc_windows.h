/* Convolution over time as products of a matrix with windows: what an output sample hears, sample by sample, all
   channels of each. Samples' channels lie side by side, so that a window without gaps is there already. */
#ifndef PC_WINDOWS_H
#define PC_WINDOWS_H
#include "pc_linear.h"

/* Windows that share what is loaded of the matrix. */
enum { PC_WINDOWS = PC_WIDTH > 1 ? 4 : 2 };

/* The window of `taps` samples that begins at `in`; samples are `dilation` floats apart. room: for one with gaps. */
PC_INLINE const float *pc_window(float *room, const float *in, int ins, int taps, int dilation)
{
    if (dilation == ins || taps == 1) return in;
    for (int k = 0; k < taps; k++) pc_copy(room + k * ins, in + k * dilation, ins);
    return room;
}

#endif
