/* More functions of one number, a vector of them at a time; the single ones take the same way, so that they say the same.

   Errors are relative to the result unless said otherwise, on all floats that a network meets (-1e4 to 1e4). Polynomials
   are fitted by iterated weighted least squares.

   What stands in pc_math.h: exponentials 2e-7, held between e^-87 = 1.65e-38 and e^88 = 1.65e38 where the true ones go on
   to 0 and to infinity; logarithms 2e-7, that of 0 and of negative numbers the one of 1.18e-38, which is -87.3. */
#ifndef PC_FUNCTIONS_H
#define PC_FUNCTIONS_H
#include "pc_simd.h"

PC_INLINE float pc_first(pc_v x)
{
    float all[PC_WIDTH];
    pc_store(all, x);
    return all[0];
}

PC_INLINE pc_v pc_vabs(pc_v x) { return pc_vmax(x, -x); }
PC_INLINE pc_v pc_vsign(pc_v x)
{
    return pc_pick(x > 0.0f, pc_splat(1.0f), pc_pick(x < 0.0f, pc_splat(-1.0f), pc_splat(0.0f)));
}

/* To the nearest whole number, halves to the even one: exact. Beyond 2^22 floats have no halves to lose. */
PC_INLINE pc_v pc_vround(pc_v x)
{
    const pc_v near = (x + 12582912.0f) - 12582912.0f;
    const pc_v far = pc_pick(pc_vabs(x) < 8388608.0f, pc_to_float(pc_to_int(pc_vclamp(x, -8388608.0f, 8388608.0f))), x);
    return pc_pick(pc_vabs(x) < 4194304.0f, near, far);
}
PC_INLINE pc_v pc_vfloor(pc_v x)
{
    const pc_v near = pc_vround(x);
    return near - pc_pick(near > x, pc_splat(1.0f), pc_splat(0.0f));
}
PC_INLINE pc_v pc_vceil(pc_v x) { return -pc_vfloor(-x); }
PC_INLINE pc_v pc_vtrunc(pc_v x) { return pc_pick(x < 0.0f, pc_vceil(x), pc_vfloor(x)); }

/* What division leaves, with the sign of b, or of a: error 2^-24 of a. */
PC_INLINE pc_v pc_vremainder(pc_v a, pc_v b)
{
    const pc_v left = a - pc_vfloor(a / b) * b;
    return pc_pick(((left < 0.0f) & (b > 0.0f)) | ((left > 0.0f) & (b < 0.0f)), left + b, left);
}
PC_INLINE pc_v pc_vfmod(pc_v a, pc_v b) { return a - pc_vtrunc(a / b) * b; }

/* Sine, a quarter of a turn later for cosine: absolute error 2e-7 up to 8192, from there on that of the argument. */
PC_INLINE pc_v pc_vwave(pc_v x, int quarter)
{
    x = pc_vclamp(x, -1.0e9f, 1.0e9f);
    const pc_i n = pc_to_int(x * 0.636619772f + pc_pick(x < 0.0f, pc_splat(-0.5f), pc_splat(0.5f)));
    const pc_v turns = pc_to_float(n);
    /* a quarter turn in three parts, the first two of so few bits that their products are exact */
    const pc_v r = ((x - turns * 1.5703125f) - turns * 4.837512969970703e-4f) - turns * 7.549789949e-8f;
    const pc_v s = r * r;
    const pc_v sine = r + r * s * (((2.717152837e-6f * s - 1.983917836e-4f) * s + 8.33332869e-3f) * s - 0.1666666663f);
    const pc_v cosine = 1.0f + s * (((2.437267912e-5f * s - 1.388652915e-3f) * s + 4.166661323e-2f) * s - 0.4999999957f);
    const pc_i place = n + quarter;
    const pc_v wave = pc_pick((place & 1) == 1, cosine, sine);
    return pc_pick((place & 2) == 2, -wave, wave);
}
PC_INLINE pc_v pc_vsin(pc_v x) { return pc_vwave(x, 0); }
PC_INLINE pc_v pc_vcos(pc_v x) { return pc_vwave(x, 1); }

/* Angle of the point (x, y), and that of (1, y): 3e-7. */
PC_INLINE pc_v pc_vatan2(pc_v y, pc_v x)
{
    const pc_v tall = pc_vabs(y), wide = pc_vabs(x), most = pc_vmax(tall, wide);
    const pc_v z = pc_vmin(tall, wide) / pc_pick(most > 0.0f, most, pc_splat(1.0f)), s = z * z;
    pc_v p = 2.849775617e-3f * s - 1.606817448e-2f;
    p = p * s + 4.269078367e-2f;
    p = p * s - 7.504232591e-2f;
    p = p * s + 0.1064090515f;
    p = p * s - 0.1420363717f;
    p = p * s + 0.1999261849f;
    p = p * s - 0.333330733f;
    p = z + z * s * p;
    p = pc_pick(tall > wide, 1.570796327f - p, p);
    p = pc_pick(x < 0.0f, 3.141592654f - p, p);
    return pc_pick(y < 0.0f, -p, p);
}
PC_INLINE pc_v pc_vatan(pc_v x) { return pc_vatan2(x, pc_splat(1.0f)); }

/* The angle of a sine, and of a cosine: as the point's above, whose other side is exact near 1: 4e-7, absolute near the
   cosine of a quarter turn. Beyond -1 and 1, where there is no angle, that of -1 or 1. */
PC_INLINE pc_v pc_vother_side(pc_v x) { return pc_vsqrt(pc_vmax((1.0f - x) * (1.0f + x), pc_splat(0.0f))); }
PC_INLINE pc_v pc_vasin(pc_v x) { return pc_vatan2(x, pc_vother_side(x)); }
PC_INLINE pc_v pc_vacos(pc_v x) { return pc_vatan2(pc_vother_side(x), x); }

/* e^x - 1 and log(1 + x), with all digits near 0: 3e-7. */
PC_INLINE pc_v pc_vexpm1(pc_v x)
{
    pc_v p = 1.984121917e-4f * x + 1.395830405e-3f;
    p = p * x + 8.333456808e-3f;
    p = p * x + 4.166611318e-2f;
    p = p * x + 0.1666666568f;
    p = p * x + 0.500000011f;
    return pc_pick(pc_vabs(x) < 0.4f, x + x * x * p, pc_vexp(x) - 1.0f);
}
PC_INLINE pc_v pc_vlog1p(pc_v x)
{
    const pc_v whole = 1.0f + x;
    return pc_vlog(whole) - ((whole - 1.0f) - x) / whole;
}

/* Areas of hyperbolic sines, cosines (of 1 and more; 0 below) and tangents (between -1 and 1; at most 45 elsewhere): 5e-7,
   by that logarithm, so that small ones keep their digits. */
PC_INLINE pc_v pc_vasinh(pc_v x)
{
    const pc_v a = pc_vabs(x), area = pc_vlog1p(a + a * a / (1.0f + pc_vsqrt(a * a + 1.0f)));
    return pc_pick(x < 0.0f, -area, area);
}
PC_INLINE pc_v pc_vacosh(pc_v x)
{
    const pc_v over = pc_vmax(x - 1.0f, pc_splat(0.0f));
    return pc_vlog1p(over + pc_vsqrt(over * (over + 2.0f)));
}
PC_INLINE pc_v pc_vatanh(pc_v x)
{
    const pc_v a = pc_vmin(pc_vabs(x), pc_splat(1.0f)), left = pc_vmax(1.0f - a, pc_splat(1.0e-38f));
    const pc_v area = 0.5f * pc_vlog1p(2.0f * a / left);
    return pc_pick(x < 0.0f, -area, area);
}

/* Other numbers for what is none and for infinities, told by the bits, since fast arithmetic knows neither. */
PC_INLINE pc_v pc_vnumeric(pc_v x, float none, float most, float least)
{
    const pc_i bits = pc_as_int(x), size = bits & 0x7FFFFFFF;
    const pc_v infinite = pc_pick(bits < 0, pc_splat(least), pc_splat(most));
    return pc_pick(size > 0x7F800000, pc_splat(none), pc_pick(size == 0x7F800000, infinite, x));
}

/* 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x: 3e-7. */
PC_INLINE pc_v pc_verf(pc_v x)
{
    const pc_v a = pc_vmin(pc_vabs(x), pc_splat(4.0f)), s = a * a, t = 1.0f / (a + 0.5f);
    pc_v p = 7.853850336e-5f * s - 8.010190289e-4f;
    p = p * s + 5.188327306e-3f;
    p = p * s - 2.685381174e-2f;
    p = p * s + 0.1128358514f;
    p = p * s - 0.3761262582f;
    p = a * (p * s + 1.128379166f);
    pc_v q = 0.3684117718f - 0.118656484f * t;
    q = q * t - 0.2582480322f;
    q = q * t - 0.4887889456f;
    q = q * t + 1.114674916f;
    q = q * t - 0.8043255455f;
    q = q * t - 2.825192479e-2f;
    q = q * t + 0.2648629853f;
    q = q * t + 0.5656840787f;
    q = q * t - 5.659089341e-5f;
    p = pc_pick(a < 1.0f, p, 1.0f - q * pc_vexp(-s));
    return pc_pick(x < 0.0f, -p, p);
}

/* Rectifiers without a corner. GELU: absolute error 3e-7 of x. */
PC_INLINE pc_v pc_vgelu(pc_v x) { return 0.5f * x * (1.0f + pc_verf(0.707106781f * x)); }
PC_INLINE pc_v pc_vgelu_tanh(pc_v x)
{
    return 0.5f * x * (1.0f + pc_vtanh(0.797884561f * (x + 0.044715f * x * x * x)));
}
PC_INLINE pc_v pc_vsoftplus(pc_v x, float beta, float threshold)
{
    return pc_pick(x * beta > threshold, x, pc_vlog1p(pc_vexp(x * beta)) / beta);
}
PC_INLINE pc_v pc_velu(pc_v x, float alpha, float scale, float input_scale)
{
    return scale * pc_pick(x > 0.0f, x, alpha * pc_vexpm1(x * input_scale));
}
/* x tanh(log(1 + e^x)), where the tangent of the logarithm is a fraction of exponentials. */
PC_INLINE pc_v pc_vmish(pc_v x)
{
    const pc_v e = pc_vexp(pc_vmin(x, pc_splat(20.0f))), n = e * (e + 2.0f);
    return x * n / (n + 2.0f);
}
PC_INLINE pc_v pc_vlog_sigmoid(pc_v x)
{
    return pc_vmin(x, pc_splat(0.0f)) - pc_vlog1p(pc_vexp(-pc_vabs(x)));
}

/* a^b by the logarithm: 2e-7 (1 + |b log a|). Negative a have powers of whole b only; others get 0. */
PC_INLINE pc_v pc_vpower(pc_v a, pc_v b)
{
    const pc_v size = pc_vexp(b * pc_vlog(pc_vabs(a))), half = 0.5f * b;
    const pc_v odd = pc_pick(pc_vfloor(half) == half, pc_splat(1.0f), pc_splat(-1.0f));
    const pc_v negative = pc_pick(pc_vfloor(b) == b, odd * size, pc_splat(0.0f));
    const pc_v zero = pc_pick(b == 0.0f, pc_splat(1.0f), pc_splat(0.0f));
    return pc_pick(a > 0.0f, size, pc_pick(a < 0.0f, negative, zero));
}

#define PC_ALSO_SINGLE(NAME)                                                                                           \
    PC_INLINE float pc_##NAME(float x) { return pc_first(pc_v##NAME(pc_splat(x))); }
PC_ALSO_SINGLE(abs)
PC_ALSO_SINGLE(sign)
PC_ALSO_SINGLE(round)
PC_ALSO_SINGLE(floor)
PC_ALSO_SINGLE(ceil)
PC_ALSO_SINGLE(trunc)
PC_ALSO_SINGLE(sin)
PC_ALSO_SINGLE(cos)
PC_ALSO_SINGLE(atan)
PC_ALSO_SINGLE(asin)
PC_ALSO_SINGLE(acos)
PC_ALSO_SINGLE(asinh)
PC_ALSO_SINGLE(acosh)
PC_ALSO_SINGLE(atanh)
PC_ALSO_SINGLE(expm1)
PC_ALSO_SINGLE(log1p)
PC_ALSO_SINGLE(erf)
PC_ALSO_SINGLE(gelu)
PC_ALSO_SINGLE(gelu_tanh)
PC_ALSO_SINGLE(mish)
PC_ALSO_SINGLE(log_sigmoid)

#define PC_ALSO_SINGLE_OF_TWO(NAME)                                                                                    \
    PC_INLINE float pc_##NAME(float a, float b) { return pc_first(pc_v##NAME(pc_splat(a), pc_splat(b))); }
PC_ALSO_SINGLE_OF_TWO(remainder)
PC_ALSO_SINGLE_OF_TWO(fmod)
PC_ALSO_SINGLE_OF_TWO(atan2)
PC_ALSO_SINGLE_OF_TWO(power)

PC_INLINE float pc_softplus(float x, float beta, float threshold)
{
    return pc_first(pc_vsoftplus(pc_splat(x), beta, threshold));
}
PC_INLINE float pc_numeric(float x, float none, float most, float least)
{
    return pc_first(pc_vnumeric(pc_splat(x), none, most, least));
}
PC_INLINE float pc_elu(float x, float alpha, float scale, float input_scale)
{
    return pc_first(pc_velu(pc_splat(x), alpha, scale, input_scale));
}

#endif
