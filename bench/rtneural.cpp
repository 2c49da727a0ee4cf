// RTNeural's compile-time LSTM behind a C interface: see small.py, which compiles this against a
// copy of RTNeural and Eigen that is not part of lstmc.
#include <RTNeural/RTNeural.h>

#include <cstring>
#include <new>
#include <vector>

namespace {

using Rows = std::vector<std::vector<float>>;

// weight is [4 H, columns], gates i f g o; RTNeural takes columns of rows, in the same order.
Rows columns_of(const float *weight, int rows, int columns) {
    Rows made(columns, std::vector<float>(rows));
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++) made[c][r] = weight[r * columns + c];
    return made;
}

struct Net {
    virtual ~Net() = default;
    virtual void run(const float *x, float *y, int times) = 0;
};

template <int I, int H> struct Lstm final : Net {
    RTNeural::LSTMLayerT<float, I, H> layer;

    Lstm(const float *weight_ih, const float *weight_hh, const float *bias) {
        layer.setWVals(columns_of(weight_ih, 4 * H, I));
        layer.setUVals(columns_of(weight_hh, 4 * H, H));
        layer.setBVals(std::vector<float>(bias, bias + 4 * H));
        layer.reset();
    }
    void run(const float *x, float *y, int times) override {
        Eigen::Matrix<float, I, 1> in;
        for (int t = 0; t < times; t++) {
            std::memcpy(in.data(), x, sizeof(float) * I);
            layer.forward(in);
            std::memcpy(y, layer.outs.data(), sizeof(float) * H);
        }
    }
};

template <int I, int H> Net *made(int i, int h, const float *w, const float *u, const float *b) {
    return i == I && h == H ? new (std::nothrow) Lstm<I, H>(w, u, b) : nullptr;
}

} // namespace

// NULL if the size is not among those compiled in.
extern "C" void *rt_open(int i, int h, const float *w, const float *u, const float *b) {
    Net *net = nullptr;
#define SIZE(I, H)                                                                                 \
    if (!net) net = made<I, H>(i, h, w, u, b);
    SIZES
    return net;
}

// times steps, all with the same input x [I]; y [H] is the output of the last.
extern "C" void rt_run(void *net, const float *x, float *y, int times) {
    static_cast<Net *>(net)->run(x, y, times);
}
