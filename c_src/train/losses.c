/* Losses of a vector, and their gradients. */
#include "trainer.h"
#include "../kernels/fpenv.h"
#include "../kernels/soft_fma.h"

/* (y - t)^2 over F; the sum is one chain. */
static float mse_vector(const float *y, const float *t, uint32_t n, float scale, float *dy) {
    float sum = 0.0f;
    const float twice = scale * 2.0f / (float)n;
    for (uint32_t i = 0; i < n; i++) {
        const float e = y[i] - t[i];
        sum = lstmc_fmaf(e, e, sum);
        if (dy) dy[i] = lstmc_flush(lstmc_fmaf(twice, e, dy[i]));
    }
    return sum / (float)n;
}

int lstmc_train_loss(lstmc_trainer *trainer, uint32_t index, const lstmc_loss *loss,
                     const float *truth, const float *weights, uint32_t weight_steps, float scale,
                     float *values) {
    lstmc_train_port p;
    int status = lstmc_train_output(trainer, index, &p);
    if (status || !loss || !truth) return LSTMC_E_ARGUMENT;
    if (loss->kind != LSTMC_LOSS_MSE) return LSTMC_E_UNSUPPORTED;
    const lstmc_call *call = &trainer->session->call;
    const uint32_t id = trainer->session->ports[trainer->model.input_count + index].value;
    const uint32_t mode = lstmc_fp_enter();
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint32_t valid = lstmc_row_steps(call, id, b);
        for (uint32_t t = 0; t < p.steps; t++) {
            const size_t at = (size_t)b * p.steps + t;
            const float w = weights ? weights[weight_steps ? at : b] : 1.0f;
            float *dy = p.gradient
                            ? p.gradient + b * p.gradient_batch_stride + t * p.gradient_time_stride
                            : NULL;
            float value = 0.0f;
            if (t < valid) {
                value = w * mse_vector(p.data + b * p.batch_stride + t * p.time_stride,
                                       truth + at * p.features, p.features, scale * w, dy);
            }
            if (values) values[at] = value;
        }
    }
    lstmc_fp_leave(mode);
    return LSTMC_OK;
}
