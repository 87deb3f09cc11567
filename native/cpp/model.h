// Weights of encoder, predictor and joint, and inputs and outputs of one run.
#pragma once

#include "weight_layout.h"

namespace wheatear {

struct EncoderShape {
    int layers, width, heads, kernel, left, longest_chunk;
    int bands, channels, feed_forward, prompt, joint;  // prompt: width of its kernel, or 0

    WHEATEAR_INLINE int head_width() const { return width / heads; }
    WHEATEAR_INLINE int padded_channels() const { return rounded_up(channels, TILE); }
    // Number of offsets in the table of positions.
    WHEATEAR_INLINE int offsets() const { return left + 2 * longest_chunk - 1; }
    WHEATEAR_INLINE int bands_after(int convolutions) const {
        int n = bands;
        for (int i = 0; i < convolutions; ++i) n = n / 2 + 1;
        return n;
    }
};

struct Norm {
    const float* gain = nullptr;  // null for no norm
    const float* shift = nullptr;
};

struct Depthwise {
    const float* taps = nullptr;  // [taps, channels]
    const float* bias = nullptr;  // [channels]
};

struct FeedForward {
    Norm norm;
    Linear in, out;
};

struct Layer {
    FeedForward first, second;
    Norm attention_norm, convolution_norm, out_norm;
    Linear qkv, attention_out;
    const float* content_bias = nullptr;   // [heads, head_width]
    const float* position_bias = nullptr;  // [heads, head_width]
    const float* positions = nullptr;      // [heads, offsets, head_width]
    Linear pointwise_in, pointwise_out;
    Depthwise depthwise;
    Norm depthwise_norm;
};

struct EncoderModel {
    EncoderShape shape;
    Depthwise convolution0, convolution2, convolution5;  // 3 x 3; 0 reads the mel
    Linear convolution3, convolution6;
    Linear subsampled;  // reads [channels, bands]
    Layer* layers = nullptr;
    Linear prompt_in, prompt_out;
    Linear joint;
};

// Buffers of one stream for a step. Frames are [frames, width].
struct Stream {
    float* keys_values;     // [layers, 2, heads, left, head_width], a ring over the frames
    const float* conv;      // [layers, kernel - 1, width]: cache before this step
    float* next_conv;       // cache after this step
    const float* mel;       // [8 frames + 7, bands]
    const float* valid1;    // [4 frames + 3]: 1 for valid rows of the first convolution
    const float* valid2;    // [2 frames + 1]: 1 for valid rows of the second
    const float* language;  // [prompt]: bias of the language prompt
    float* joint_input;     // [frames, joint]
    float* encoder_out;
    float* before_prompt;
    int64_t start;  // frame number of the first frame of this step
    int32_t left;   // left context in frames
};

struct Batch {
    Stream* streams;
    int32_t count;
    int32_t frames;  // number of new frames of each stream
    int32_t chunk;   // frames of a chunk, which attend to each other; divides `frames`
};

enum Activation { RELU, TANH, SIGMOID };

struct DecoderShape {
    int layers, hidden, joint, outputs;  // layers of the LSTM
    int activation;                      // of the joint
};

// Predictor and joint.
struct DecoderModel {
    DecoderShape shape;
    Linear* lstm = nullptr;  // [layers]: from inputs and h to the gates i, f, g, o
    Linear prediction;
    Linear output;
};

// A run of the predictor: the next prediction and LSTM state of every row.
struct PredictorRun {
    const float* embedded;  // [rows, hidden]: embeddings of the tokens
    const float *h, *c;     // [layers, rows, hidden]
    float* prediction;      // [rows, joint]
    float *next_h, *next_c;
    int32_t rows;
};

// A run of the joint.
struct JointRun {
    const float *joint_input, *prediction;  // [rows, joint]: encoder frame and prediction
    float* logits;                          // [rows, outputs rounded up to TILE]
    int32_t rows;
};

}  // namespace wheatear
