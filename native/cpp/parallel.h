// Work on all threads of a pool, for one instruction set.
#pragma once

#include "pool.h"
#include "product.h"

namespace wheatear {
namespace WHEATEAR_PATH {

// Calls of(unit, worker) for every unit, on all threads.
template <class Of>
void each(Pool* pool, int units, Of of) {
    if (pool == nullptr) {
        for (int unit = 0; unit < units; ++unit) of(unit, 0);
        return;
    }
    pool->run(
        units, [](void* job, int unit, int worker) { (*static_cast<Of*>(job))(unit, worker); },
        &of);
}

// out [x.count, stride] = linear(x); rows are quantised already, if they are read so.
inline void multiply_all(const Linear& linear, const Rows& x, float* out, int stride, Pool* pool) {
    const int threads = pool ? pool->threads() : 1;
    const int tiles = linear.tiles(), at_once = tiles / (4 * threads) + 1;
    each(pool, (tiles + at_once - 1) / at_once, [&](int unit, int) {
        for (int t = unit * at_once; t < tiles && t < (unit + 1) * at_once; ++t)
            multiply(linear, t, x, out, stride);
    });
}

}  // namespace WHEATEAR_PATH
}  // namespace wheatear
