/* Drawing a sample from a distribution with noise from a counter; the Python twins are pochette.layers.sampling and
   pochette.layers.logistics, which say what is computed and why on whole numbers. */
#ifndef PC_SAMPLING_H
#define PC_SAMPLING_H
#include "pc_noise.h"

/* The noise sample as a whole number below 2^24: its place on the grid of floats that pc_noise returns. */
PC_INLINE uint32_t pc_place(uint32_t n) { return (uint32_t)((pc_noise(n) + 1.0f) * 8388608.0f); }

/* Which of the codes lies at `place` / 2^24 of the distribution function of softmax(logits / temperature).
   weights: `codes` floats of scratch; they hold whole numbers up to 2^22, which floats hold exactly. */
PC_KERNEL uint32_t pc_code_at(const float *logits, int codes, float temperature, uint32_t place, float *weights)
{
    const float inverse = 1.0f / temperature;
    float top = logits[0];
    for (int i = 1; i < codes; i++) top = pc_max(top, logits[i]);
    uint32_t total = 0, height = 0, code = 0;
    for (int i = 0; i < codes; i++) {
        const uint32_t weight = (uint32_t)(pc_exp((logits[i] - top) * inverse) * 4194304.0f);
        weights[i] = (float)weight;
        total += weight;
    }
    const uint32_t threshold = (uint32_t)(((uint64_t)place * total) >> 24);
    for (int i = 0; i < codes; i++) {
        height += (uint32_t)weights[i];
        code += height <= threshold;
    }
    return code;
}

PC_KERNEL void pc_draw_code(uint32_t *code, uint32_t *after, const float *logits, int codes, const float *temperature,
                            uint32_t counter, float *scratch)
{
    *code = pc_code_at(logits, codes, *temperature, pc_place(counter), scratch);
    *after = counter + 1u;
}

/* parameters: logits, means and logarithms of scales of the components, the last floored. */
PC_KERNEL void pc_draw_logistic(float *sample, uint32_t *after, const float *parameters, int components,
                                const float *temperature, uint32_t counter, float floor, float *scratch)
{
    const uint32_t k = pc_code_at(parameters, components, *temperature, pc_place(counter), scratch);
    const float u = ((float)(pc_place(counter + 1u) >> 1) + 0.5f) * 1.1920928955078125e-7f;
    const float scale = pc_exp(pc_max(parameters[2 * components + (int)k], floor)) * *temperature;
    const float mean = parameters[components + (int)k];
    *sample = pc_clamp(mean + scale * (pc_log(u) - pc_log(1.0f - u)), -1.0f, 1.0f);
    *after = counter + 2u;
}

#endif
