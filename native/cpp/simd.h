// Vector operations of each instruction set: floats, and sums of products of 8-bit numbers.
//
// Compiled once for every instruction set (see isa_kernels.cpp) with its compiler flags, in a
// namespace of its own. All other arithmetic is written once, with these names:
//
//   LANES                 outputs in a vector; TILE / LANES vectors make a tile of weights
//   Floats                LANES floats
//   load_half(x)          LANES floats from float16, exact
//   multiply_add(a, b, c) a * b + c, rounded once
//   Codes<bits>           the weights of LANES outputs and four inputs, as unsigned codes
//   Activations           four activations, the same for all outputs
//   Sum<bits>             LANES exact sums over a block of 32 inputs; begins with a correction for
//                         the zero of the codes, 8 or 128 (correction_of computes it for a block)
//   max_rows<bits>        rows of activations, and
//   vectors_at_once<bits> vectors of outputs, whose sums fit the registers together
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "weight_layout.h"

#if defined(__AVX2__) || defined(WHEATEAR_AVX512)
#ifdef WHEATEAR_SIMDE
#include "../tests/simde.h"
#else
#include <immintrin.h>
#endif
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace wheatear {
namespace WHEATEAR_ISA {

inline int32_t four(const int8_t* x) {
    int32_t packed;
    std::memcpy(&packed, x, 4);
    return packed;
}

inline int32_t sum_of(const int8_t* block) {
    int32_t sum = 0;
    for (int i = 0; i < BLOCK; ++i) sum += block[i];
    return sum;
}

#if defined(WHEATEAR_AVX512)

// vpdpbusd: four products of an unsigned and a signed byte, added to 32 bits in one instruction.
constexpr int LANES = 16;
using Floats = __m512;
using Activations = __m512i;

inline Floats load(const float* x) { return _mm512_loadu_ps(x); }
inline Floats load_half(const uint16_t* x) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)));
}
inline void store(float* x, Floats v) { _mm512_storeu_ps(x, v); }
inline Floats broadcast(float x) { return _mm512_set1_ps(x); }
inline Floats plus(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Activations activations(const int8_t* x) { return _mm512_set1_epi32(four(x)); }
inline int32_t correction_of(const int8_t* block) { return -8 * sum_of(block); }

template <int bits>
struct Codes {
    __m512i codes;
};

inline Codes<4> codes4(const uint8_t* line, int, bool later) {
    __m512i both = _mm512_loadu_si512(line);
    return {_mm512_and_si512(later ? _mm512_srli_epi16(both, 4) : both, _mm512_set1_epi8(15))};
}
inline Codes<8> codes8(const uint8_t* line, int) { return {_mm512_loadu_si512(line)}; }

template <int bits>
struct Sum {
    __m512i sum;
    void begin(int32_t correction) { sum = _mm512_set1_epi32(correction * (bits == 8 ? 16 : 1)); }
    void add(Codes<bits> w, Activations x) { sum = _mm512_dpbusd_epi32(sum, w.codes, x); }
    Floats total() const { return _mm512_cvtepi32_ps(sum); }
};

template <int bits>
constexpr int max_rows = 8;
template <int bits>
constexpr int vectors_at_once = 1;

#elif defined(__AVX2__)

// vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits.  With codes of 4 bits
// sixteen pairs do not overflow (16 * 2 * 15 * 127 < 2^15), so a whole block is summed in 16 bits.
// Codes of 8 bits are split into two of 4: 16 * high + low.
constexpr int LANES = 8;
using Floats = __m256;
using Activations = __m256i;

inline Floats load(const float* x) { return _mm256_loadu_ps(x); }
inline Floats load_half(const uint16_t* x) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}
inline void store(float* x, Floats v) { _mm256_storeu_ps(x, v); }
inline Floats broadcast(float x) { return _mm256_set1_ps(x); }
inline Floats plus(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Activations activations(const int8_t* x) { return _mm256_set1_epi32(four(x)); }

// Two 16-bit numbers, as the lanes of a sum: one for inputs 0, 1 of every four, one for 2, 3.
inline int32_t correction_of(const int8_t* block) {
    __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block));
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
    __m128i sum = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    sum = _mm_add_epi16(sum, _mm_srli_si128(sum, 8));
    sum = _mm_add_epi16(sum, _mm_srli_si128(sum, 4));
    return _mm_cvtsi128_si32(_mm_mullo_epi16(sum, _mm_set1_epi16(-8)));
}

template <int bits>
struct Codes;
template <>
struct Codes<4> {
    __m256i codes;
};
template <>
struct Codes<8> {
    __m256i high, low;
};

inline __m256i low_four(__m256i x) { return _mm256_and_si256(x, _mm256_set1_epi8(15)); }
inline __m256i high_four(__m256i x) { return low_four(_mm256_srli_epi16(x, 4)); }

inline Codes<4> codes4(const uint8_t* line, int vector, bool later) {
    __m256i both = _mm256_load_si256(reinterpret_cast<const __m256i*>(line) + vector);
    return {later ? high_four(both) : low_four(both)};
}
inline Codes<8> codes8(const uint8_t* line, int vector) {
    __m256i codes = _mm256_load_si256(reinterpret_cast<const __m256i*>(line) + vector);
    return {high_four(codes), low_four(codes)};
}

inline __m256i add_products(__m256i sum, __m256i codes, Activations x) {
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, x));
    __asm__("" : "+x"(sum));  // otherwise GCC delays the additions until it runs out of registers
    return sum;
}
inline __m256i pairs(__m256i sum, int16_t times) {
    return _mm256_madd_epi16(sum, _mm256_set1_epi16(times));
}

template <int bits>
struct Sum;
template <>
struct Sum<4> {
    __m256i sum;
    void begin(int32_t correction) { sum = _mm256_set1_epi32(correction); }
    void add(Codes<4> w, Activations x) { sum = add_products(sum, w.codes, x); }
    Floats total() const { return _mm256_cvtepi32_ps(pairs(sum, 1)); }
};
template <>
struct Sum<8> {
    __m256i high, low;
    void begin(int32_t correction) {
        high = _mm256_set1_epi32(correction);
        low = _mm256_setzero_si256();
    }
    void add(Codes<8> w, Activations x) {
        high = add_products(high, w.high, x);
        low = add_products(low, w.low, x);
    }
    Floats total() const {
        return _mm256_cvtepi32_ps(_mm256_add_epi32(pairs(high, 16), pairs(low, 1)));
    }
};

template <int bits>
constexpr int max_rows = bits == 4   ? 5
                         : bits == 8 ? 4
                                     : 6;
template <int bits>
constexpr int vectors_at_once = bits == 8 ? 1 : 2;

#elif defined(__ARM_FEATURE_DOTPROD)

// sdot: four products of signed bytes, added to 32 bits in one instruction.
constexpr int LANES = 4;
using Floats = float32x4_t;
using Activations = int8x16_t;

inline Floats load(const float* x) { return vld1q_f32(x); }
inline Floats load_half(const uint16_t* x) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x)));
}
inline void store(float* x, Floats v) { vst1q_f32(x, v); }
inline Floats broadcast(float x) { return vdupq_n_f32(x); }
inline Floats plus(Floats a, Floats b) { return vaddq_f32(a, b); }
inline Floats multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
inline Activations activations(const int8_t* x) {
    return vreinterpretq_s8_s32(vdupq_n_s32(four(x)));
}
inline int32_t correction_of(const int8_t* block) { return -8 * sum_of(block); }

template <int bits>
struct Codes {
    int8x16_t codes;  // of 4 bits: 0 .. 15; of 8 bits: -128 .. 127
};

inline Codes<4> codes4(const uint8_t* line, int vector, bool later) {
    uint8x16_t both = vld1q_u8(line + 16 * vector);
    return {vreinterpretq_s8_u8(later ? vshrq_n_u8(both, 4) : vandq_u8(both, vdupq_n_u8(15)))};
}
inline Codes<8> codes8(const uint8_t* line, int vector) {
    return {vreinterpretq_s8_u8(veorq_u8(vld1q_u8(line + 16 * vector), vdupq_n_u8(128)))};
}

template <int bits>
struct Sum {
    int32x4_t sum;
    void begin(int32_t correction) { sum = vdupq_n_s32(bits == 8 ? 0 : correction); }
    void add(Codes<bits> w, Activations x) { sum = vdotq_s32(sum, w.codes, x); }
    Floats total() const { return vcvtq_f32_s32(sum); }
};

template <int bits>
constexpr int max_rows = 4;
template <int bits>
constexpr int vectors_at_once = 4;

#else

// Any machine: plain loops, which the compiler vectorizes.
constexpr int LANES = 4;
struct Floats {
    float lane[LANES];
};
struct Activations {
    int8_t input[4];
};

template <class Of>
inline Floats per_lane(Of of) {
    Floats v;
    for (int i = 0; i < LANES; ++i) v.lane[i] = of(i);
    return v;
}
inline Floats load(const float* x) {
    return per_lane([&](int i) { return x[i]; });
}
inline float from_half(uint16_t half) {
    const uint32_t bits = uint32_t(half & 0x7fff) << 13;  // to their place in a float
    float x;
    std::memcpy(&x, &bits, 4);
    x *= 0x1p112f;  // the difference of the exponents' biases
    return half & 0x8000 ? -x : x;
}
inline Floats load_half(const uint16_t* x) {
    return per_lane([&](int i) { return from_half(x[i]); });
}
inline void store(float* x, Floats v) { std::memcpy(x, v.lane, sizeof v.lane); }
inline Floats broadcast(float x) {
    return per_lane([&](int) { return x; });
}
inline Floats plus(Floats a, Floats b) {
    return per_lane([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline Floats multiply(Floats a, Floats b) {
    return per_lane([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline Floats multiply_add(Floats a, Floats b, Floats c) {
    return per_lane([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
inline Activations activations(const int8_t* x) { return {{x[0], x[1], x[2], x[3]}}; }
inline int32_t correction_of(const int8_t* block) { return -8 * sum_of(block); }

template <int bits>
struct Codes {
    uint8_t codes[4 * LANES];
};

inline Codes<4> codes4(const uint8_t* line, int vector, bool later) {
    Codes<4> w;
    for (int i = 0; i < 4 * LANES; ++i)
        w.codes[i] = line[4 * LANES * vector + i] >> (later ? 4 : 0) & 15;
    return w;
}
inline Codes<8> codes8(const uint8_t* line, int vector) {
    Codes<8> w;
    std::memcpy(w.codes, line + 4 * LANES * vector, sizeof w.codes);
    return w;
}

template <int bits>
struct Sum {
    int32_t sum[LANES];
    void begin(int32_t correction) {
        for (int32_t& s : sum) s = correction * (bits == 8 ? 16 : 1);
    }
    void add(Codes<bits> w, Activations x) {
        for (int i = 0; i < LANES; ++i)
            for (int j = 0; j < 4; ++j) sum[i] += w.codes[4 * i + j] * x.input[j];
    }
    Floats total() const {
        return per_lane([&](int i) { return float(sum[i]); });
    }
};

template <int bits>
constexpr int max_rows = 4;
template <int bits>
constexpr int vectors_at_once = 4;

#endif

constexpr int VECTORS = TILE / LANES;

}  // namespace WHEATEAR_ISA
}  // namespace wheatear
