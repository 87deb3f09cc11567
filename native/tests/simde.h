// AVX-512 on a machine without it: the functions of SIMDe under the names of the real ones.
#pragma once

#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

// The one it does not have yet.
#define _mm512_cvtepi32_ps(x) converted(x)

static inline __m512 converted(__m512i x) {
    int32_t from[16];
    float to[16];
    simde_mm512_storeu_si512(from, x);
    for (int i = 0; i < 16; ++i) to[i] = float(from[i]);
    return simde_mm512_loadu_ps(to);
}
