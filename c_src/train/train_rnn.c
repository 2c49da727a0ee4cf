/* RNN, backward: dp = dh activation'(p), dh = R^T dp. */
#include "train_layers.h"
#include "train_recurrent.h"

#include <string.h>

static void rnn_keep_kernel(const lstmc_train_kernels *kernels, const lstmc_cell_train_args *args) {
    LSTMC_TRAIN_KERNEL(kernels, rnn_keep, args);
}

static void rnn_back_kernel(const lstmc_train_kernels *kernels, const lstmc_cell_train_args *args) {
    LSTMC_TRAIN_KERNEL(kernels, rnn_back, args);
}

static void rnn_again(const lstmc_frame *r, const float *c, uint32_t rows) {
    const lstmc_product p = lstmc_hidden_product(r, 0, rows);
    (void)c;
    lstmc_multiply(r, &p);
}

static void train_rnn_place(const lstmc_back *k, uint32_t i, uint32_t b0, uint32_t b1) {
    const lstmc_recurrent *m = &k->t->m;
    lstmc_cell_train_args a = lstmc_train_cell_args(k->t);
    for (uint32_t b = b0; b < b1; b++) {
        a.gates = lstmc_back_at(k, &k->gates, b, i);
        a.dh = k->dh + (size_t)b * m->out;
        lstmc_train_cells(k->t, k->node, rnn_back_kernel, &a);
    }
    lstmc_back_product p;
    memset(&p, 0, sizeof p);
    p.w = m->hh;
    p.plain_at = k->t->hh_at;
    p.of = p.gates = 1;
    p.dx = k->dh;
    p.k = m->out;
    lstmc_back_multiply(k, &p, i, b0, b1);
    if (k->node->mask) lstmc_back_masked(k, k->dh, NULL, b0, b1);
}

static void train_rnn_gradients(const lstmc_back *k, const lstmc_weight_args *args) {
    lstmc_weight_args w = *args;
    if (!k->t->dhh) return;
    w.dw = k->t->dhh;
    lstmc_weight_gradient(k->node, k->call, &w);
}

static const lstmc_train_cell trained_rnn = {
    .kept = 1,
    .fns = {0},
    .keep = rnn_keep_kernel,
    .again = rnn_again,
    .back = train_rnn_place,
    .gradients = train_rnn_gradients,
};

static void train_rnn_prepare(const lstmc_train_layer *l, void *prepared) {
    lstmc_train_recurrent_prepare(l, &trained_rnn, prepared);
}

const lstmc_train_ops lstmc_train_rnn = {
    .code = 7,
    .prepared_size = sizeof(lstmc_train_recurrent),
    .blocks = 2, /* the mask */
    .prepare = train_rnn_prepare,
    .plan = lstmc_train_recurrent_plan,
    .forward = lstmc_train_recurrent_forward,
    .backward = lstmc_train_recurrent_backward,
    .refresh = lstmc_train_recurrent_refresh,
};
