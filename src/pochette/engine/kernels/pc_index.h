/* Finding by number, and numbers by value. */
#ifndef PC_INDEX_H
#define PC_INDEX_H
#include "pc_math.h"

/* The place that a number means on an axis of length n: negative ones count from the end; beyond the ends, the end. */
PC_INLINE int pc_index(int i, int n)
{
    i = i < 0 ? i + n : i;
    return i < 0 ? 0 : (i < n ? i : n - 1);
}

/* How many of n rising boundaries lie below x; a boundary equal to x counts as below if `right`. */
PC_INLINE uint32_t pc_bucket(float x, const float *boundaries, int n, int right)
{
    int low = 0, high = n;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (right ? boundaries[middle] <= x : boundaries[middle] < x) low = middle + 1;
        else high = middle;
    }
    return (uint32_t)low;
}

/* The n numbers of a row, `step` apart, in rising order, or falling if sign is -1, and where each stood; equal ones keep
   their order. By insertion, for the short rows that audio networks sort. */
PC_KERNEL void pc_sort(float *y, uint32_t *place, const float *x, int n, int step, float sign)
{
    for (int i = 0; i < n; i++) {
        const float v = x[i * step];
        int at = i;
        for (; at > 0 && y[(at - 1) * step] * sign > v * sign; at--) {
            y[at * step] = y[(at - 1) * step];
            place[at * step] = place[(at - 1) * step];
        }
        y[at * step] = v;
        place[at * step] = (uint32_t)i;
    }
}

/* The k largest of a row's n numbers, `step` apart, or the smallest if sign is -1, the foremost first, and where each
   stood; of equal ones the earlier counts as larger. Each number is put where it belongs among those found so far. */
PC_KERNEL void pc_foremost(float *y, uint32_t *place, const float *x, int n, int k, int step, float sign)
{
    for (int i = 0; i < n; i++) {
        const float v = x[i * step];
        int at = i < k ? i : k;
        while (at > 0 && v * sign > y[(at - 1) * step] * sign) at--;
        if (at == k) continue;
        for (int j = i < k ? i : k - 1; j > at; j--) {
            y[j * step] = y[(j - 1) * step];
            place[j * step] = place[(j - 1) * step];
        }
        y[at * step] = v;
        place[at * step] = (uint32_t)i;
    }
}

/* Euclidean distance of two points. */
PC_INLINE float pc_distance(const float *a, const float *b, int n)
{
    float squares = 0.0f;
    for (int i = 0; i < n; i++) squares += (a[i] - b[i]) * (a[i] - b[i]);
    return squares * pc_rsqrt(squares);
}

#endif
