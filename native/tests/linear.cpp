// Computes one linear layer from standard input to standard output. Tests run it in an emulator of
// a processor that this machine does not have.
//
//   linear ISA BITS INPUTS OUTPUTS ROWS  <  weights, scales (for 4 and 8 bits), bias, x  >  out

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../cpp/api.h"

template <class T>
static std::vector<T> read(size_t count) {
    std::vector<T> values(count);
    if (std::fread(values.data(), sizeof(T), count, stdin) != count) std::exit(2);
    return values;
}

int main(int argc, char** argv) {
    if (argc != 6) return 2;
    const int bits = std::atoi(argv[2]), inputs = std::atoi(argv[3]);
    const int outputs = std::atoi(argv[4]), rows = std::atoi(argv[5]);
    const int blocks = (inputs + 31) / 32;
    const auto data = read<uint8_t>(bits == 32 ? size_t(4) * inputs * outputs
                                               : size_t(outputs) * blocks * 4 * bits);
    const auto scales = read<uint16_t>(bits == 32 ? 0 : size_t(outputs) * blocks);
    const auto bias = read<float>(outputs);
    const auto x = read<float>(size_t(rows) * inputs);
    std::vector<float> out(size_t(rows) * outputs);
    const wheatear::Tensor weight{data.data(), scales.data(), bits, inputs, outputs};
    if (wheatear_linear(&weight, bias.data(), x.data(), rows, argv[1], 2, 1, out.data()) < 0)
        return 3;
    return std::fwrite(out.data(), sizeof(float), out.size(), stdout) == out.size() ? 0 : 2;
}
