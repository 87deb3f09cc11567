/* C interface of the library; src/wheatear_native/__init__.py declares it for ctypes. */
#pragma once

#include <stdint.h>

#include "decoder.h"
#include "encoder.h"

#define WHEATEAR_ABI 4

#if defined(_WIN32)
#define WHEATEAR_API extern "C" __declspec(dllexport)
#else
#define WHEATEAR_API extern "C" __attribute__((visibility("default")))
#endif

WHEATEAR_API int32_t wheatear_abi(void);

/* Returns the name of the n-th instruction set of this machine, fastest first; null after the
   last. */
WHEATEAR_API const char* wheatear_instruction_set(int32_t n);

/* Returns an encoder, or null and a message in `error`, which has `error_size` bytes. Tensors are
   copied. isa: the name of an instruction set, or empty for the fastest. */
WHEATEAR_API wheatear::Encoder* wheatear_open(const wheatear::EncoderShape* shape,
                                              const wheatear::Tensor* tensors, int32_t count,
                                              const char* isa, int32_t threads, char* error,
                                              int32_t error_size);
WHEATEAR_API void wheatear_close(wheatear::Encoder* encoder);

/* Computes a step. Returns false and a message in `error` for a batch that does not fit. */
WHEATEAR_API int32_t wheatear_step(wheatear::Encoder* encoder, const wheatear::Batch* batch,
                                   char* error, int32_t error_size);

/* Returns a predictor and a joint, as wheatear_open. */
WHEATEAR_API wheatear::Decoder* wheatear_open_decoder(const wheatear::DecoderShape* shape,
                                                      const wheatear::Tensor* tensors,
                                                      int32_t count, const char* isa,
                                                      int32_t threads, char* error,
                                                      int32_t error_size);
WHEATEAR_API void wheatear_close_decoder(wheatear::Decoder* decoder);

/* Run the predictor or the joint. Return false and a message in `error` on failure. */
WHEATEAR_API int32_t wheatear_predict(wheatear::Decoder* decoder, const wheatear::PredictorRun* run,
                                      char* error, int32_t error_size);
WHEATEAR_API int32_t wheatear_join(wheatear::Decoder* decoder, const wheatear::JointRun* run,
                                   char* error, int32_t error_size);

/* Computes out [rows, outputs] = x [rows, inputs] times a weight, plus a bias [outputs] unless it
   is null. For tests and measurements: computes it `repeats` times with the weight packed once.
   Returns the seconds of the fastest repetition, or a negative number on failure. */
WHEATEAR_API double wheatear_linear(const wheatear::Tensor* weight, const float* bias,
                                    const float* x, int32_t rows, const char* isa, int32_t threads,
                                    int32_t repeats, float* out);
