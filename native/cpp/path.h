// The ways of computing, one for each instruction set it was compiled for.
#pragma once

#include "pool.h"
#include "workspace.h"

namespace wheatear {

struct Path {
    const char* name;
    bool (*runs_here)();
    void (*step)(const Model& model, const Batch& batch, const Workspace& work, Pool* pool);
    void (*predict)(const DecoderModel& model, const Prediction& run, const DecoderWorkspace& work,
                    Pool* pool);
    void (*join)(const DecoderModel& model, const Question& run, const DecoderWorkspace& work,
                 Pool* pool);
    // out [rows, linear.tiles() * TILE] = linear(x [rows, linear.inputs]); quantised: room for x.
    void (*product)(const Linear& linear, const float* x, int rows, const Quantised& quantised,
                    float* out, Pool* pool);
};

// Fastest first, null at the end; the last one runs anywhere.
extern const Path* const paths[];

// The path of that name, or for an empty one the fastest; null if this machine has no such.
const Path* find_path(const char* name);

}  // namespace wheatear
