/* Integer sums of 8-bit weights times 16-bit numbers, by whatever instruction the processor has for it. All ways give
   the same integers.

   Weights meet the vector four columns at a time: in memory the four weights of a row stand side by side, then those of
   the next row. Every way defines
     pc_digit               what the vector's numbers are kept as: whole, or as two digits of 8 bits
     PC_DIGITS(columns)     how many of them
     pc_digits(to, k, ...)  store numbers k, k + 1, ... of the vector
     pc_four, pc_four_at    four neighbours of the vector, as the sums want them
     pc_sums                sums of PC_SUM_ROWS rows; PC_SUM_MOST of them fit into registers
     pc_sums_begin, pc_sums_add, pc_sums_end
   PC_WEIGHT_OFFSET: what weights are raised by within the sums, which begin with what takes it away again. */
#ifndef PC_DOT_H
#define PC_DOT_H
#include "pc_linear.h"

#define PC_UP4(n) (((n) + 3) / 4 * 4)
#define PC_FILLED(n) (((n) + PC_ROWS - 1) / PC_ROWS * PC_ROWS)
#if defined(__GNUC__)
typedef int32_t pc_word __attribute__((may_alias, aligned(1)));
#endif

#if PC_WIDTH > 1
PC_INLINE pc_i pc_load_whole(const int32_t *p) { return *(const pc_i *)p; }
PC_INLINE void pc_store_whole(int32_t *p, pc_i x) { *(pc_i *)p = x; }
#else
PC_INLINE pc_i pc_load_whole(const int32_t *p) { return *p; }
PC_INLINE void pc_store_whole(int32_t *p, pc_i x) { *p = x; }
#endif

#if PC_WIDTH == 16 && defined(__AVX512VNNI__)
#define PC_DOT_VNNI
#include <immintrin.h>
typedef __m512i pc_dot_v;
#define PC_SUM_MOST 8
#define pc_dot_all(x) _mm512_set1_epi32(x)
#define pc_dot_get(p) _mm512_loadu_si512((const void *)(p))
#define pc_dot_put(p, x) _mm512_storeu_si512((void *)(p), x)
#define pc_dot_flip(x) _mm512_xor_si512(x, _mm512_set1_epi8(-128))
#define pc_dot_join(high, low) _mm512_add_epi32(_mm512_slli_epi32(high, 8), low)
#define pc_dot_add(sum, u, s) _mm512_dpbusd_epi32(sum, u, s)
#elif PC_WIDTH == 8 && (defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__)))
#define PC_DOT_VNNI
#include <immintrin.h>
typedef __m256i pc_dot_v;
#define PC_SUM_MOST 4
#define pc_dot_all(x) _mm256_set1_epi32(x)
#define pc_dot_get(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define pc_dot_put(p, x) _mm256_storeu_si256((__m256i *)(void *)(p), x)
#define pc_dot_flip(x) _mm256_xor_si256(x, _mm256_set1_epi8(-128))
#define pc_dot_join(high, low) _mm256_add_epi32(_mm256_slli_epi32(high, 8), low)
#if defined(__AVXVNNI__)
#define pc_dot_add(sum, u, s) _mm256_dpbusd_avx_epi32(sum, u, s)
#else
#define pc_dot_add(sum, u, s) _mm256_dpbusd_epi32(sum, u, s)
#endif
#endif

#if defined(PC_DOT_VNNI) || (PC_WIDTH == 4 && defined(__ARM_FEATURE_DOTPROD))
/* Instructions that multiply bytes: a number is 256 high + low with digits from -128 to 127, and has a sum for each. A
   vector's digits lie apart, the high ones first. */
typedef int8_t pc_digit;
typedef pc_digit pc_few __attribute__((vector_size(PC_WIDTH), aligned(1), may_alias));
#define PC_DIGITS(columns) (2 * PC_FILLED(columns))

PC_INLINE void pc_digits(pc_digit *to, int k, pc_i numbers, int columns)
{
    *(pc_few *)(to + k) = __builtin_convertvector((numbers + 128) >> 8, pc_few);
    *(pc_few *)(to + PC_FILLED(columns) + k) = __builtin_convertvector(numbers, pc_few);
}
#endif

#if defined(PC_DOT_VNNI)
/* x86 multiplies unsigned bytes by signed ones. */
#define PC_WEIGHT_OFFSET 128
#define PC_SUM_ROWS PC_WIDTH
typedef struct { pc_dot_v high, low; } pc_four;
typedef struct { pc_dot_v high, low; } pc_sums;

PC_INLINE pc_four pc_four_at(const pc_digit *x, int k, int columns)
{
    const pc_digit *low = x + PC_FILLED(columns) + k;
    const pc_four four = {pc_dot_all(*(const pc_word *)(x + k)), pc_dot_all(*(const pc_word *)low)};
    return four;
}
PC_INLINE pc_sums pc_sums_begin(int32_t first)
{
    const pc_sums sums = {pc_dot_all(0), pc_dot_all(first)};
    return sums;
}
PC_INLINE pc_sums pc_sums_add(pc_sums sums, const int8_t *w, pc_four x)
{
    const pc_dot_v weights = pc_dot_flip(pc_dot_get(w));
    sums.high = pc_dot_add(sums.high, weights, x.high);
    sums.low = pc_dot_add(sums.low, weights, x.low);
    return sums;
}
PC_INLINE void pc_sums_end(int32_t *to, pc_sums sums) { pc_dot_put(to, pc_dot_join(sums.high, sums.low)); }

#elif PC_WIDTH == 4 && defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#define PC_WEIGHT_OFFSET 0
#define PC_SUM_ROWS 4
#define PC_SUM_MOST 8
typedef struct { int8x16_t high, low; } pc_four;
typedef struct { int32x4_t high, low; } pc_sums;

PC_INLINE pc_four pc_four_at(const pc_digit *x, int k, int columns)
{
    const pc_digit *low = x + PC_FILLED(columns) + k;
    const pc_four four = {vreinterpretq_s8_s32(vdupq_n_s32(*(const pc_word *)(x + k))),
                          vreinterpretq_s8_s32(vdupq_n_s32(*(const pc_word *)low))};
    return four;
}
PC_INLINE pc_sums pc_sums_begin(int32_t first)
{
    const pc_sums sums = {vdupq_n_s32(0), vdupq_n_s32(first)};
    return sums;
}
PC_INLINE pc_sums pc_sums_add(pc_sums sums, const int8_t *w, pc_four x)
{
    const int8x16_t weights = vld1q_s8(w);
    sums.high = vdotq_s32(sums.high, weights, x.high);
    sums.low = vdotq_s32(sums.low, weights, x.low);
    return sums;
}
PC_INLINE void pc_sums_end(int32_t *to, pc_sums sums)
{
    vst1q_s32(to, vaddq_s32(vshlq_n_s32(sums.high, 8), sums.low));
}

#else
/* No product of bytes: weights are widened to 16 bits, and the numbers are kept whole. */
#define PC_WEIGHT_OFFSET 0
typedef int16_t pc_digit;
#define PC_DIGITS(columns) PC_FILLED(columns)

#if PC_WIDTH > 1
typedef pc_digit pc_few __attribute__((vector_size(2 * PC_WIDTH), aligned(2), may_alias));
PC_INLINE void pc_digits(pc_digit *to, int k, pc_i numbers, int columns)
{
    (void)columns;
    *(pc_few *)(to + k) = __builtin_convertvector(numbers, pc_few);
}
#endif

#if PC_WIDTH >= 8 && defined(__AVX2__)
#include <immintrin.h>
#define PC_SUM_ROWS 8
#define PC_SUM_MOST 4
typedef __m256i pc_four;
typedef struct { __m256i first, last; } pc_sums; /* two sums a row, of rows 0 to 3 and 4 to 7 */

PC_INLINE pc_four pc_four_at(const pc_digit *x, int k, int columns)
{
    (void)columns;
    return _mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(x + k)));
}
PC_INLINE pc_sums pc_sums_begin(int32_t first)
{
    const pc_sums sums = {_mm256_set1_epi32(first), _mm256_setzero_si256()};
    return sums;
}
PC_INLINE __m256i pc_sums_half(__m256i sum, const int8_t *w, pc_four x)
{
    const __m256i weights = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)w));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(weights, x));
}
PC_INLINE pc_sums pc_sums_add(pc_sums sums, const int8_t *w, pc_four x)
{
    sums.first = pc_sums_half(sums.first, w, x);
    sums.last = pc_sums_half(sums.last, w + 16, x);
    return sums;
}
PC_INLINE void pc_sums_end(int32_t *to, pc_sums sums)
{
    /* the instruction works on both halves of the register by themselves: rows 0 1 4 5, then 2 3 6 7 */
    const __m256i mixed = _mm256_hadd_epi32(sums.first, sums.last);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute4x64_epi64(mixed, 0xD8));
}

#elif PC_WIDTH == 4 && defined(__ARM_NEON)
#include <arm_neon.h>
#define PC_SUM_ROWS 4
#define PC_SUM_MOST 4
typedef int16x8_t pc_four; /* twice, for the two halves of what is widened */
typedef struct { int32x4_t row[4]; } pc_sums; /* four sums a row */

PC_INLINE pc_four pc_four_at(const pc_digit *x, int k, int columns)
{
    int16x8_t four = vcombine_s16(vld1_s16(x + k), vld1_s16(x + k));
    (void)columns;
    /* A compiler that sees that both halves are the same moves the weights instead, at every product. */
    __asm__("" : "+w"(four));
    return four;
}
PC_INLINE pc_sums pc_sums_begin(int32_t first)
{
    const int32x4_t zero = vdupq_n_s32(first);
    const pc_sums sums = {{zero, zero, zero, zero}};
    return sums;
}
PC_INLINE pc_sums pc_sums_add(pc_sums sums, const int8_t *w, pc_four x)
{
    const int8x16_t bytes = vld1q_s8(w);
    const int16x8_t first = vmovl_s8(vget_low_s8(bytes)), last = vmovl_s8(vget_high_s8(bytes));
    sums.row[0] = vmlal_s16(sums.row[0], vget_low_s16(first), vget_low_s16(x));
    sums.row[1] = vmlal_s16(sums.row[1], vget_high_s16(first), vget_high_s16(x));
    sums.row[2] = vmlal_s16(sums.row[2], vget_low_s16(last), vget_low_s16(x));
    sums.row[3] = vmlal_s16(sums.row[3], vget_high_s16(last), vget_high_s16(x));
    return sums;
}
PC_INLINE int32x2_t pc_sums_pair(int32x4_t a, int32x4_t b)
{
    return vpadd_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
}
PC_INLINE void pc_sums_end(int32_t *to, pc_sums sums)
{
    vst1_s32(to, pc_sums_pair(sums.row[0], sums.row[1]));
    vst1_s32(to + 2, pc_sums_pair(sums.row[2], sums.row[3]));
}

#elif PC_WIDTH == 4 && defined(__wasm_simd128__)
#include <wasm_simd128.h>
#define PC_SUM_ROWS 4
#define PC_SUM_MOST 4
typedef v128_t pc_four;
typedef struct { v128_t first, last; } pc_sums; /* two sums a row, of rows 0 and 1, and 2 and 3 */

PC_INLINE pc_four pc_four_at(const pc_digit *x, int k, int columns)
{
    (void)columns;
    return wasm_v128_load64_splat(x + k);
}
PC_INLINE pc_sums pc_sums_begin(int32_t first)
{
    const pc_sums sums = {wasm_i32x4_splat(first), wasm_i32x4_splat(0)};
    return sums;
}
PC_INLINE pc_sums pc_sums_add(pc_sums sums, const int8_t *w, pc_four x)
{
    const v128_t bytes = wasm_v128_load(w);
    sums.first = wasm_i32x4_add(sums.first, wasm_i32x4_dot_i16x8(wasm_i16x8_extend_low_i8x16(bytes), x));
    sums.last = wasm_i32x4_add(sums.last, wasm_i32x4_dot_i16x8(wasm_i16x8_extend_high_i8x16(bytes), x));
    return sums;
}
PC_INLINE void pc_sums_end(int32_t *to, pc_sums sums)
{
    wasm_v128_store(to, wasm_i32x4_add(wasm_i32x4_shuffle(sums.first, sums.last, 0, 2, 4, 6),
                                       wasm_i32x4_shuffle(sums.first, sums.last, 1, 3, 5, 7)));
}

#else
#define PC_SUM_ROWS 1
#define PC_SUM_MOST 4
typedef int32_t pc_sums;
PC_INLINE pc_sums pc_sums_begin(int32_t first) { return first; }
PC_INLINE void pc_sums_end(int32_t *to, pc_sums sums) { *to = sums; }

#if PC_WIDTH == 1 && defined(__GNUC__) && defined(__ARM_FEATURE_SIMD32)
#include <arm_acle.h>
/* A Cortex-M with the instructions for signals multiplies two pairs at once. Bytes are widened every second one, so the
   four neighbours are kept in the order 0, 2, 1, 3. */
typedef struct { int16x2_t even, odd; } pc_four;

PC_INLINE void pc_digits(pc_digit *to, int k, pc_i number, int columns)
{
    (void)columns;
    to[(k & ~3) | (k & 1) << 1 | (k >> 1 & 1)] = (pc_digit)number;
}
PC_INLINE pc_four pc_four_at(const pc_digit *x, int k, int columns)
{
    const pc_four four = {*(const pc_word *)(const void *)(x + k), *(const pc_word *)(const void *)(x + k + 2)};
    (void)columns;
    return four;
}
/* Bytes 1 and 3. GCC does not find the rotation that is part of the instruction. */
PC_INLINE int16x2_t pc_odd_bytes(int8x4_t bytes)
{
#if defined(__clang__)
    return __sxtb16((int8x4_t)((uint32_t)bytes >> 8 | (uint32_t)bytes << 24));
#else
    int16x2_t odd;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(bytes));
    return odd;
#endif
}
PC_INLINE pc_sums pc_sums_add(pc_sums sum, const int8_t *w, pc_four x)
{
    const int8x4_t weights = *(const pc_word *)(const void *)w;
    sum = __smlad(__sxtb16(weights), x.even, sum);
    return __smlad(pc_odd_bytes(weights), x.odd, sum);
}
#else
typedef struct { int32_t number[4]; } pc_four;

#if PC_WIDTH == 1
PC_INLINE void pc_digits(pc_digit *to, int k, pc_i number, int columns)
{
    (void)columns;
    to[k] = (pc_digit)number;
}
#endif
PC_INLINE pc_four pc_four_at(const pc_digit *x, int k, int columns)
{
    const pc_four four = {{x[k], x[k + 1], x[k + 2], x[k + 3]}};
    (void)columns;
    return four;
}
PC_INLINE pc_sums pc_sums_add(pc_sums sum, const int8_t *w, pc_four x)
{
    return sum + w[0] * x.number[0] + w[1] * x.number[1] + w[2] * x.number[2] + w[3] * x.number[3];
}
#endif
#endif
#endif

#endif
