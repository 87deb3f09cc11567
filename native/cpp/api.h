/* What the library offers, in C; src/wheatear_native/__init__.py declares the same for ctypes. */
#pragma once

#include <stdint.h>

#include "decoder.h"
#include "encoder.h"

#define WHEATEAR_ABI 3

#if defined(_WIN32)
#define WHEATEAR_API extern "C" __declspec(dllexport)
#else
#define WHEATEAR_API extern "C" __attribute__((visibility("default")))
#endif

WHEATEAR_API int32_t wheatear_abi(void);

/* Name of the n-th path that this machine can run, the fastest first; null after the last. */
WHEATEAR_API const char* wheatear_path(int32_t n);

/* An encoder, or null and why in `error` (of `room` bytes).  Nothing of the tensors is kept.
   path: a name, or empty for the fastest. */
WHEATEAR_API wheatear::Encoder* wheatear_open(const wheatear::Shape* shape,
                                              const wheatear::Tensor* tensors, int32_t count,
                                              const char* path, int32_t threads, char* error,
                                              int32_t room);
WHEATEAR_API void wheatear_close(wheatear::Encoder* encoder);

/* Computes a step; false and why in `error` if it cannot. */
WHEATEAR_API int32_t wheatear_step(wheatear::Encoder* encoder, const wheatear::Batch* batch,
                                   char* error, int32_t room);

/* The same for a predictor and a joint. */
WHEATEAR_API wheatear::Decoder* wheatear_open_decoder(const wheatear::DecoderShape* shape,
                                                      const wheatear::Tensor* tensors,
                                                      int32_t count, const char* path,
                                                      int32_t threads, char* error, int32_t room);
WHEATEAR_API void wheatear_close_decoder(wheatear::Decoder* decoder);

/* Run them; false and why in `error` if that cannot be. */
WHEATEAR_API int32_t wheatear_predict(wheatear::Decoder* decoder, const wheatear::Prediction* run,
                                      char* error, int32_t room);
WHEATEAR_API int32_t wheatear_join(wheatear::Decoder* decoder, const wheatear::Question* run,
                                   char* error, int32_t room);

/* out [rows, outputs] = x [rows, inputs] times a weight, plus a bias [outputs] unless it is null;
   by itself, for tests and measurements: `repeats` times, the weight packed once.  Returns the
   seconds that the fastest took, negative if it cannot be done. */
WHEATEAR_API double wheatear_product(const wheatear::Tensor* weight, const float* bias,
                                     const float* x, int32_t rows, const char* path,
                                     int32_t threads, int32_t repeats, float* out);
