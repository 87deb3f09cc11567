// Compiled once for every instruction set, under its flags, with WHEATEAR_PATH as its name.
//
// It must not instantiate anything of the standard library: the linker keeps one copy of such
// functions, and the copy that needs AVX-512 might be the one that every machine is made to run.
#include "path.h"

#include "step.h"

namespace wheatear {
namespace WHEATEAR_PATH {

void step(const Model& model, const Batch& batch, const Workspace& work, Pool* pool) {
    Step(model, batch, work, pool).run();
}

void product(const Linear& linear, const float* x, int count, const Quantised& quantised,
             float* out, Pool* pool) {
    if (linear.bits != 32)
        each(pool, count, [&](int r, int) {
            quantise(x + size_t(r) * linear.inputs, linear.inputs, r, quantised);
        });
    const Rows input{x, linear.inputs, quantised, count};
    each(pool, linear.tiles(),
         [&](int tile, int) { multiply(linear, tile, input, out, linear.tiles() * TILE); });
}

}  // namespace WHEATEAR_PATH
}  // namespace wheatear
