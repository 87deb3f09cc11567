// The weights of encoder, predictor and joint, and what they compute at a time.
#pragma once

#include "layout.h"

namespace wheatear {

struct Shape {
    int layers, width, heads, kernel, left, longest_chunk;
    int bands, channels, feed_forward, prompt, joint;  // prompt: width of its kernel, 0 if none

    WHEATEAR_INLINE int head_width() const { return width / heads; }
    WHEATEAR_INLINE int padded_channels() const { return rounded_up(channels, TILE); }
    WHEATEAR_INLINE int offsets() const {
        return left + 2 * longest_chunk - 1;
    }  // of the table of positions
    WHEATEAR_INLINE int bands_after(int convolutions) const {
        int n = bands;
        for (int i = 0; i < convolutions; ++i) n = n / 2 + 1;
        return n;
    }
};

struct Norm {
    const float* gain = nullptr;  // null: no norm
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

struct Model {
    Shape shape;
    Depthwise convolution0, convolution2, convolution5;  // 3 x 3; 0 reads the one channel there is
    Linear convolution3, convolution6;
    Linear subsampled;  // reads [channels, bands]
    Layer* layers = nullptr;
    Linear prompt_in, prompt_out;
    Linear joint;
};

// One stream's part of a step.  Frames are [frames, width] each.
struct Stream {
    float* keys_values;     // [layers, 2, heads, left, head_width], a ring over the frames
    const float* conv;      // [layers, kernel - 1, width]: before this step
    float* next_conv;       // the same after it
    const float* mel;       // [8 frames + 7, bands]
    const float* live1;     // [4 frames + 3]: 1 where a row of the first convolution exists
    const float* live2;     // [2 frames + 1]: the same for the second
    const float* language;  // [prompt]: bias of the language prompt
    float* projected;       // [frames, joint]
    float* encoded;
    float* hidden;
    int64_t start;  // frames before this step
    int32_t left;   // frames that may be looked back at
};

struct Batch {
    Stream* streams;
    int32_t count;
    int32_t frames;  // of each stream
    int32_t chunk;   // frames that see each other; divides `frames`
};

enum Activation { RELU, TANH, SIGMOID };

struct DecoderShape {
    int layers, hidden, joint, outputs;  // layers of the LSTM
    int activation;                      // of the joint
};

// Predictor and joint.
struct DecoderModel {
    DecoderShape shape;
    Linear* lstm = nullptr;  // of each layer: inputs and h to the gates i, f, g, o
    Linear prediction;
    Linear output;
};

// A run of the predictor: the next prediction and LSTM state of every row.
struct Prediction {
    const float* embedded;  // [rows, hidden]: the tokens
    const float *h, *c;     // [layers, rows, hidden]
    float* prediction;      // [rows, joint]
    float *next_h, *next_c;
    int32_t rows;
};

// A run of the joint.
struct Question {
    const float *projected, *prediction;  // [rows, joint]: a frame and what was said before it
    float* logits;                        // [rows, outputs rounded up to TILE]
    int32_t rows;
};

}  // namespace wheatear
