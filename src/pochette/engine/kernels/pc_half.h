/* y = W x + b with W stored in 16 bits, widened in registers; the arithmetic is that of 32-bit floats.

   Two columns stand together. bfloat16, the upper half of a float: the two numbers of a row are one word, and a shift or
   a mask widens each. float16: one column after the other, as the instructions that widen it want them. */
#ifndef PC_HALF_H
#define PC_HALF_H
#include "pc_linear.h"

/* kind */
#define PC_BFLOAT16 0
#define PC_FLOAT16 1

#if PC_WIDTH >= 8 && defined(__F16C__)
#include <immintrin.h>
#elif PC_WIDTH == 4 && defined(__aarch64__)
#include <arm_neon.h>
#elif PC_WIDTH == 1 && defined(__GNUC__) && defined(__ARM_FP) && (__ARM_FP & 2) && !defined(__ARM_BIG_ENDIAN)
/* A Cortex-M widens either half of a register. */
#define PC_HALF_REGISTERS
typedef float pc_two_halves __attribute__((may_alias));
#endif

#if PC_WIDTH > 1
typedef uint16_t pc_halves __attribute__((vector_size(2 * PC_WIDTH), aligned(2), may_alias));
PC_INLINE pc_i pc_load_halves(const uint16_t *p) { return __builtin_convertvector(*(const pc_halves *)p, pc_i); }
PC_INLINE pc_v pc_low_half(const uint16_t *p) { return (pc_v)(*(const pc_i *)(const void *)p << 16); }
PC_INLINE pc_v pc_high_half(const uint16_t *p) { return (pc_v)(*(const pc_i *)(const void *)p & -65536); }
#else
PC_INLINE pc_i pc_load_halves(const uint16_t *p) { return *p; }
#if defined(PC_HALF_REGISTERS)
typedef uint32_t pc_pair __attribute__((may_alias));
PC_INLINE pc_v pc_low_half(const uint16_t *p) { return pc_bits_to_float(*(const pc_pair *)(const void *)p << 16); }
PC_INLINE pc_v pc_high_half(const uint16_t *p)
{
    return pc_bits_to_float(*(const pc_pair *)(const void *)p & 0xFFFF0000u);
}
#else
PC_INLINE pc_v pc_low_half(const uint16_t *p) { return pc_bits_to_float((uint32_t)p[0] << 16); }
PC_INLINE pc_v pc_high_half(const uint16_t *p) { return pc_bits_to_float((uint32_t)p[1] << 16); }
#endif
#endif

/* Finite numbers of float16, exactly, whatever the processor does with denormal ones. */
PC_INLINE pc_v pc_widened(pc_i bits)
{
    const pc_i magnitude = bits & 0x7FFF;
    const pc_v normal = pc_as_float((magnitude << 13) + (112 << 23));
    const pc_v small = pc_to_float(magnitude) * 5.9604644775390625e-8f;
    const pc_v made = pc_pick(magnitude < 1024, small, normal);
    return pc_pick((bits & 0x8000) != 0, -made, made);
}

/* The float16 number i, and those after it that fill a vector; p: of a whole word. */
PC_INLINE pc_v pc_load_float16(const uint16_t *p, int i)
{
#if defined(PC_HALF_REGISTERS)
    const float halves = *(const pc_two_halves *)(const void *)(p + i / 2 * 2);
    float made;
    if (i % 2) __asm__("vcvtt.f32.f16 %0, %1" : "=t"(made) : "t"(halves));
    else __asm__("vcvtb.f32.f16 %0, %1" : "=t"(made) : "t"(halves));
    return made;
#else
    p += i;
#if PC_WIDTH == 16 && defined(__F16C__)
    return (pc_v)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif PC_WIDTH == 8 && defined(__F16C__)
    return (pc_v)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif PC_WIDTH == 4 && defined(__aarch64__)
    return (pc_v)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    return pc_widened(pc_load_halves(p));
#endif
#endif
}

/* Rows from `row` on of a pair of columns that has `step` rows: the even column, then the odd one. */
PC_INLINE pc_v pc_even_column(const uint16_t *w, int row, int kind)
{
    return kind == PC_BFLOAT16 ? pc_low_half(w + 2 * row) : pc_load_float16(w, row);
}
PC_INLINE pc_v pc_odd_column(const uint16_t *w, int row, int step, int kind)
{
    return kind == PC_BFLOAT16 ? pc_high_half(w + 2 * row) : pc_load_float16(w + step, row);
}

/* One strip of a block of `step` rows: `rows` of it, two sums a row in registers; w: of its first row. */
PC_INLINE void pc_strip16(float *y, const uint16_t *w, const float *b, const float *x, int columns, int step, int rows,
                          int kind)
{
    pc_v even[PC_SUMS], odd[PC_SUMS];
    const int vectors = (rows + PC_WIDTH - 1) / PC_WIDTH;
    int k = 0;
    PC_UNROLL
    for (int v = 0; v < vectors; v++) {
        even[v] = pc_load(b + v * PC_WIDTH);
        odd[v] = pc_splat(0.0f);
    }
    for (; k + 1 < columns; k += 2, w += 2 * step) {
        const pc_v even_x = pc_splat(x[k]), odd_x = pc_splat(x[k + 1]);
        PC_UNROLL
        for (int v = 0; v < vectors; v++) {
            even[v] += pc_even_column(w, v * PC_WIDTH, kind) * even_x;
            odd[v] += pc_odd_column(w, v * PC_WIDTH, step, kind) * odd_x;
        }
    }
    if (k < columns) {
        const pc_v even_x = pc_splat(x[k]);
        PC_UNROLL
        for (int v = 0; v < vectors; v++) even[v] += pc_even_column(w, v * PC_WIDTH, kind) * even_x;
    }
    PC_UNROLL
    for (int v = 0; v < vectors; v++) {
        const pc_v sum = even[v] + odd[v];
        if ((v + 1) * PC_WIDTH <= rows) pc_store(y + v * PC_WIDTH, sum);
        else pc_store_part(y + v * PC_WIDTH, sum, rows - v * PC_WIDTH);
    }
}

/* One block of `step` rows, of which the first `rows` are wanted and written. */
PC_INLINE void pc_block16(float *y, const uint16_t *w, const float *b, const float *x, int columns, int step, int rows,
                          int kind)
{
    const int width = PC_SUMS / 4 * 2 * PC_WIDTH, apart = kind == PC_BFLOAT16 ? 2 : 1;
    int row = 0;
    for (; row + width <= rows; row += width)
        pc_strip16(y + row, w + apart * row, b + row, x, columns, step, width, kind);
    if (row < rows) pc_strip16(y + row, w + apart * row, b + row, x, columns, step, rows - row, kind);
}

/* w: rows in blocks of `block`, each two columns by two, the last one filled up to a multiple of 16, an odd last column
   with zeros; b: filled up alike; y: exactly `rows` values are written, b may be y where it is. */
PC_INLINE void pc_product16(float *y, const uint16_t *w, const float *b, const float *x, int columns, int rows,
                            int block, int kind)
{
    const int even = (columns + 1) / 2 * 2;
    int row = 0;
    for (; row + block <= rows; row += block)
        pc_block16(y + row, w + row * even, b + row, x, columns, block, block, kind);
    if (row < rows)
        pc_block16(y + row, w + row * even, b + row, x, columns, (rows - row + PC_ROWS - 1) / PC_ROWS * PC_ROWS,
                   rows - row, kind);
}

#endif
