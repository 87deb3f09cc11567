// Runs of the predictor and of the joint, for one instruction set.
//
// A row is a token of a stream, or one of its frames. As in a step of the encoder, the result of a
// row does not depend on other rows.
#pragma once

#include "arithmetic.h"
#include "parallel_for.h"
#include "workspace.h"

namespace wheatear {
namespace WHEATEAR_ISA {

// Computes the LSTM's next state from its gates [4 * n]: input, forget, candidate, output.
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

// out = linear(work.input), with rows of `stride` floats.
inline void apply(const Linear& linear, const DecoderWorkspace& work, int rows, float* out,
                  int stride, ThreadPool* pool) {
    if (linear.bits != 32)
        for (int r = 0; r < rows; ++r)
            quantize(work.input.row(r), linear.inputs, r, work.quantized);
    matmul(linear, {work.input.values, work.input.stride, work.quantized, rows}, out, stride, pool);
}

inline void run_predictor(const DecoderModel& m, const PredictorRun& run,
                          const DecoderWorkspace& work, ThreadPool* pool) {
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

inline void run_joint(const DecoderModel& m, const JointRun& run, const DecoderWorkspace& work,
                      ThreadPool* pool) {
    const int n = m.shape.joint;
    for (int r = 0; r < run.rows; ++r) {
        float* x = work.input.row(r);
        std::memcpy(x, run.joint_input + size_t(r) * n, sizeof(float) * n);
        add(run.prediction + size_t(r) * n, n, x);
        activate(m.shape.activation, x, n);
    }
    apply(m.output, work, run.rows, run.logits, m.output.tiles() * TILE, pool);
}

}  // namespace WHEATEAR_ISA
}  // namespace wheatear
