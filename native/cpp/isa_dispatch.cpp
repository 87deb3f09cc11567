#include "isa.h"

#include <cstring>
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace wheatear {

#define WHEATEAR_DECLARE(NAME)                                                                    \
    namespace NAME {                                                                              \
    void step(const EncoderModel&, const Batch&, const Workspace&, ThreadPool*);                  \
    void predict(const DecoderModel&, const PredictorRun&, const DecoderWorkspace&, ThreadPool*); \
    void join(const DecoderModel&, const JointRun&, const DecoderWorkspace&, ThreadPool*);        \
    void linear_layer(const Linear&, const float*, int, const QuantizedRows&, float*,             \
                      ThreadPool*);                                                               \
    }
#define WHEATEAR_KERNELS(NAME) NAME::step, NAME::predict, NAME::join, NAME::linear_layer

#if defined(WHEATEAR_SCALAR_ONLY)  // a test build, which compiles fast
#elif defined(__x86_64__)
WHEATEAR_DECLARE(avx512)
WHEATEAR_DECLARE(avx2)
namespace {
bool has_avx512() {
#ifdef WHEATEAR_SIMDE
    return true;
#else
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#endif
}
bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}
const Isa avx512_isa{"avx512", has_avx512, WHEATEAR_KERNELS(avx512)};
const Isa avx2_isa{"avx2", has_avx2, WHEATEAR_KERNELS(avx2)};
}  // namespace
#elif defined(__aarch64__)
WHEATEAR_DECLARE(neon)
namespace {
bool has_dot_products() {
#if defined(__linux__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#else
    return true;  // all supported 64-bit processors of Apple
#endif
}
const Isa neon_isa{"neon", has_dot_products, WHEATEAR_KERNELS(neon)};
}  // namespace
#endif

WHEATEAR_DECLARE(scalar)
namespace {
bool always() { return true; }
const Isa scalar_isa{"scalar", always, WHEATEAR_KERNELS(scalar)};
}  // namespace

const Isa* const instruction_sets[] = {
#if defined(WHEATEAR_SCALAR_ONLY)
#elif defined(__x86_64__)
    &avx512_isa, &avx2_isa,
#elif defined(__aarch64__)
    &neon_isa,
#endif
    &scalar_isa, nullptr};

const Isa* find_isa(const char* name) {
    for (const Isa* const* isa = instruction_sets; *isa; ++isa)
        if ((*name == 0 || std::strcmp((*isa)->name, name) == 0) && (*isa)->is_supported())
            return *isa;
    return nullptr;
}

}  // namespace wheatear
