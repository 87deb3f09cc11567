// A run of the predictor and one of the joint, for one instruction set.
//
// A row is a stream's token, or one of its frames; as in a step of the encoder, what a row gets
// does not depend on the others.
#pragma once

#include "arithmetic.h"
#include "parallel.h"
#include "workspace.h"

namespace wheatear {
namespace WHEATEAR_PATH {

// The LSTM's state after a step, from its gates [4 * n]: enter, forget, candidate, leave.
inline void update_cell(const float* gates, const float* c, int n, float* next_h, float* next_c) {
    for (int i = 0; i < n; ++i) {
        const float kept = sigmoid(gates[n + i]) * c[i];
        next_c[i] = kept + sigmoid(gates[i]) * tanh(gates[2 * n + i]);
        next_h[i] = sigmoid(gates[3 * n + i]) * tanh(next_c[i]);
    }
}

inline void activate(int activation, float* x, int n) {
    if (activation == RELU) return relu(x, n);
    for (int i = 0; i < n; ++i) x[i] = activation == TANH ? tanh(x[i]) : sigmoid(x[i]);
}

// out = linear(work.input), a row of `stride` floats each.
inline void apply(const Linear& linear, const DecoderWorkspace& work, int rows, float* out,
                  int stride, Pool* pool) {
    if (linear.bits != 32)
        for (int r = 0; r < rows; ++r)
            quantise(work.input.row(r), linear.inputs, r, work.quantised);
    multiply_all(linear, {work.input.values, work.input.stride, work.quantised, rows}, out, stride,
                 pool);
}

inline void run_predictor(const DecoderModel& m, const Prediction& run,
                          const DecoderWorkspace& work, Pool* pool) {
    const int n = m.shape.hidden;
    const Table &input = work.input, &gates = work.gates;
    const float* x = run.embedded;
    for (int i = 0; i < m.shape.layers; ++i) {
        const size_t layer = size_t(i) * run.rows * n;
        for (int r = 0; r < run.rows; ++r) {
            std::memcpy(input.row(r), x + size_t(r) * n, sizeof(float) * n);
            std::memcpy(input.row(r) + n, run.h + layer + size_t(r) * n, sizeof(float) * n);
        }
        apply(m.lstm[i], work, run.rows, gates.values, gates.stride, pool);
        for (int r = 0; r < run.rows; ++r) {
            const size_t row = layer + size_t(r) * n;
            update_cell(gates.row(r), run.c + row, n, run.next_h + row, run.next_c + row);
        }
        x = run.next_h + layer;
    }
    for (int r = 0; r < run.rows; ++r)
        std::memcpy(input.row(r), x + size_t(r) * n, sizeof(float) * n);
    apply(m.prediction, work, run.rows, gates.values, gates.stride, pool);
    for (int r = 0; r < run.rows; ++r)
        std::memcpy(run.prediction + size_t(r) * m.shape.joint, gates.row(r),
                    sizeof(float) * m.shape.joint);
}

inline void run_joint(const DecoderModel& m, const Question& run, const DecoderWorkspace& work,
                      Pool* pool) {
    const int n = m.shape.joint;
    for (int r = 0; r < run.rows; ++r) {
        float* x = work.input.row(r);
        std::memcpy(x, run.projected + size_t(r) * n, sizeof(float) * n);
        add(run.prediction + size_t(r) * n, n, x);
        activate(m.shape.activation, x, n);
    }
    apply(m.output, work, run.rows, run.logits, m.output.tiles() * TILE, pool);
}

}  // namespace WHEATEAR_PATH
}  // namespace wheatear
