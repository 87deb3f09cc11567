// Kernels, compiled once for each instruction set.
#pragma once

#include "thread_pool.h"
#include "workspace.h"

namespace wheatear {

struct Isa {
    const char* name;
    bool (*is_supported)();
    void (*step)(const EncoderModel& model, const Batch& batch, const Workspace& work,
                 ThreadPool* pool);
    void (*predict)(const DecoderModel& model, const PredictorRun& run,
                    const DecoderWorkspace& work, ThreadPool* pool);
    void (*join)(const DecoderModel& model, const JointRun& run, const DecoderWorkspace& work,
                 ThreadPool* pool);
    // out [rows, linear.tiles() * TILE] = linear(x [rows, linear.inputs]); `quantized` is a buffer
    // for x.
    void (*linear_layer)(const Linear& linear, const float* x, int rows,
                         const QuantizedRows& quantized, float* out, ThreadPool* pool);
};

// Instruction sets, fastest first, null at the end; the last one runs on every machine.
extern const Isa* const instruction_sets[];

// Returns the instruction set of that name, or the fastest for an empty name; null if this machine
// does not support it.
const Isa* find_isa(const char* name);

}  // namespace wheatear
