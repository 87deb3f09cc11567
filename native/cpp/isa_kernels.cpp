// Kernels: compiled once for every instruction set, with its flags and WHEATEAR_ISA as its name.
//
// This file must not instantiate templates of the standard library. The linker keeps one copy of
// such a function for all machines, which may be the copy with AVX-512 instructions.
#include "isa.h"

#include "decoder_step.h"
#include "encoder_step.h"

namespace wheatear {
namespace WHEATEAR_ISA {

void step(const EncoderModel& model, const Batch& batch, const Workspace& work, ThreadPool* pool) {
    Step(model, batch, work, pool).run();
}

void predict(const DecoderModel& model, const PredictorRun& run, const DecoderWorkspace& work,
             ThreadPool* pool) {
    run_predictor(model, run, work, pool);
}

void join(const DecoderModel& model, const JointRun& run, const DecoderWorkspace& work,
          ThreadPool* pool) {
    run_joint(model, run, work, pool);
}

void linear_layer(const Linear& linear, const float* x, int count, const QuantizedRows& quantized,
                  float* out, ThreadPool* pool) {
    if (linear.bits != 32)
        parallel_for(pool, count, [&](int r, int) {
            quantize(x + size_t(r) * linear.inputs, linear.inputs, r, quantized);
        });
    const Rows input{x, linear.inputs, quantized, count};
    matmul(linear, input, out, linear.tiles() * TILE, pool);
}

}  // namespace WHEATEAR_ISA
}  // namespace wheatear
