// Parallel loops and matrix products on a thread pool, for one instruction set.
#pragma once

#include "matmul.h"
#include "thread_pool.h"

namespace wheatear {
namespace WHEATEAR_ISA {

// Calls body(unit, worker) for every unit, on all threads; without a pool on this one.
template <class Body>
void parallel_for(ThreadPool* pool, int units, Body body) {
    if (pool == nullptr) {
        for (int unit = 0; unit < units; ++unit) body(unit, 0);
        return;
    }
    pool->run(
        units, [](void* job, int unit, int worker) { (*static_cast<Body*>(job))(unit, worker); },
        &body);
}

// out [x.count, stride] = linear(x); x is quantized unless the layer has 32 bits.
inline void matmul(const Linear& linear, const Rows& x, float* out, int stride, ThreadPool* pool) {
    const int threads = pool ? pool->threads() : 1;
    const int tiles = linear.tiles(), tiles_per_unit = tiles / (4 * threads) + 1;
    parallel_for(pool, (tiles + tiles_per_unit - 1) / tiles_per_unit, [&](int unit, int) {
        for (int t = unit * tiles_per_unit; t < tiles && t < (unit + 1) * tiles_per_unit; ++t)
            matmul_tile(linear, t, x, out, stride);
    });
}

}  // namespace WHEATEAR_ISA
}  // namespace wheatear
