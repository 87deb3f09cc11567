// AVX-512 on a machine without it: SIMDe's functions under the names of the intrinsics.
#pragma once

#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>

// Intrinsics that SIMDe does not have.
#define _mm512_cvtepi32_ps(x) converted(x)
#define _mm512_cvtph_ps(x) from_halves(x)

static inline __m512 converted(__m512i x) {
    int32_t from[16];
    float to[16];
    simde_mm512_storeu_si512(from, x);
    for (int i = 0; i < 16; ++i) to[i] = float(from[i]);
    return simde_mm512_loadu_ps(to);
}

static inline __m512 from_halves(__m256i x) {
    float to[16];
    _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm256_castsi256_si128(x)));
    _mm256_storeu_ps(to + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1)));
    return simde_mm512_loadu_ps(to);
}
