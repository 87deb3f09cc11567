#include "path.h"

#include <cstring>
#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace wheatear {

#define WHEATEAR_DECLARE(NAME)                                                            \
    namespace NAME {                                                                      \
    void step(const Model&, const Batch&, const Workspace&, Pool*);                       \
    void predict(const DecoderModel&, const Prediction&, const DecoderWorkspace&, Pool*); \
    void join(const DecoderModel&, const Question&, const DecoderWorkspace&, Pool*);      \
    void product(const Linear&, const float*, int, const Quantised&, float*, Pool*);      \
    }
#define WHEATEAR_PARTS(NAME) NAME::step, NAME::predict, NAME::join, NAME::product

#if defined(WHEATEAR_SCALAR_ONLY)  // a build for tests, quick to make
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
const Path avx512_path{"avx512", has_avx512, WHEATEAR_PARTS(avx512)};
const Path avx2_path{"avx2", has_avx2, WHEATEAR_PARTS(avx2)};
}  // namespace
#elif defined(__aarch64__)
WHEATEAR_DECLARE(neon)
namespace {
bool has_dot_products() {
#if defined(__linux__)
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#else
    return true;  // every Apple processor of 64 bits that still gets a system
#endif
}
const Path neon_path{"neon", has_dot_products, WHEATEAR_PARTS(neon)};
}  // namespace
#endif

WHEATEAR_DECLARE(scalar)
namespace {
bool always() { return true; }
const Path scalar_path{"scalar", always, WHEATEAR_PARTS(scalar)};
}  // namespace

const Path* const paths[] = {
#if defined(WHEATEAR_SCALAR_ONLY)
#elif defined(__x86_64__)
    &avx512_path, &avx2_path,
#elif defined(__aarch64__)
    &neon_path,
#endif
    &scalar_path, nullptr};

const Path* find_path(const char* name) {
    for (const Path* const* path = paths; *path; ++path)
        if ((*name == 0 || std::strcmp((*path)->name, name) == 0) && (*path)->runs_here())
            return *path;
    return nullptr;
}

}  // namespace wheatear
