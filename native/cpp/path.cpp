// Compiled once for every instruction set, under its flags, with WHEATEAR_PATH as its name.
//
// It must not instantiate anything of the standard library: the linker keeps one copy of such
// functions, and the copy that needs AVX-512 might be the one that every machine is made to run.
#include "path.h"

#include "decode.h"
#include "step.h"

namespace wheatear {
namespace WHEATEAR_PATH {

void step(const Model& model, const Batch& batch, const Workspace& work, Pool* pool) {
    Step(model, batch, work, pool).run();
}

void predict(const DecoderModel& model, const Prediction& run, const DecoderWorkspace& work,
             Pool* pool) {
    run_predictor(model, run, work, pool);
}

void join(const DecoderModel& model, const Question& run, const DecoderWorkspace& work,
          Pool* pool) {
    run_joint(model, run, work, pool);
}

void product(const Linear& linear, const float* x, int count, const Quantised& quantised,
             float* out, Pool* pool) {
    if (linear.bits != 32)
        each(pool, count, [&](int r, int) {
            quantise(x + size_t(r) * linear.inputs, linear.inputs, r, quantised);
        });
    const Rows input{x, linear.inputs, quantised, count};
    multiply_all(linear, input, out, linear.tiles() * TILE, pool);
}

}  // namespace WHEATEAR_PATH
}  // namespace wheatear
