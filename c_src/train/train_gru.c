/* GRU, backward. Of a step, dh being the gradient of the new h and q what r multiplies, R_n h + bias:
 *
 *     dn = dh (1 - z) candidate'(n)      dq = dn r
 *     dz = dh (h - n) gate'(z)           dr = dn q gate'(r)
 *     then dh = dh z + R_r^T dr + R_z^T dz + R_n^T dq.
 *
 * Without reset_after r multiplies h itself: da = R_n^T dn, dr = da h gate'(r), and
 * dh = dh z + da r + R_r^T dr + R_z^T dz. */
#include "train_layers.h"
#include "train_recurrent.h"

#include <string.h>

static void gru_keep_kernel(const lstmc_train_kernels *kernels, const lstmc_cell_train_args *args) {
    LSTMC_TRAIN_KERNEL(kernels, gru_keep, args);
}

static void gru_back_kernel(const lstmc_train_kernels *kernels, const lstmc_cell_train_args *args) {
    LSTMC_TRAIN_KERNEL(kernels, gru_back, args);
}

/* The products take the masked h, but z h is of h itself. */
static void gru_masked_advance(const lstmc_frame *r, const lstmc_view *before, uint32_t t,
                               uint32_t b0, uint32_t b1) {
    float *h = r->h[r->parity];
    lstmc_gru_parts(r, t, b0, b1, LSTMC_CELL_FIRST);
    for (uint32_t b = b0; b < b1; b++) {
        memcpy(h + b * r->state_stride, lstmc_at(before, b, 0), r->m->out * sizeof *h);
    }
    lstmc_gru_parts(r, t, b0, b1, LSTMC_CELL_SECOND);
}

static void gru_again(const lstmc_frame *r, const float *c, uint32_t rows) {
    (void)c;
    lstmc_gru_parts(r, 0, 0, rows, LSTMC_CELL_FIRST);
}

static void gru_cells_back(const lstmc_back *k, uint32_t part, uint32_t i, uint32_t b0,
                           uint32_t b1) {
    const lstmc_recurrent *m = &k->t->m;
    lstmc_cell_train_args a = lstmc_train_cell_args(k->t);
    a.part = part;
    for (uint32_t b = b0; b < b1; b++) {
        a.old = lstmc_at(&k->h, b, i);
        a.gates = lstmc_back_at(k, &k->gates, b, i);
        a.dh = k->dh + (size_t)b * m->units;
        a.da = k->extra + (size_t)b * m->units;
        a.mask = k->node->mask ? k->node->mask + (size_t)b * m->units : NULL;
        lstmc_train_cells(k->t, k->node, gru_back_kernel, &a);
    }
}

static void train_gru_place(const lstmc_back *k, uint32_t i, uint32_t b0, uint32_t b1) {
    const lstmc_recurrent *m = &k->t->m;
    const uint32_t masked = k->node->mask != NULL;
    lstmc_back_product p;
    memset(&p, 0, sizeof p);
    p.w = m->hh;
    p.plain_at = k->t->hh_at;
    p.of = 3;
    p.k = m->units;
    gru_cells_back(k, LSTMC_CELL_FIRST, i, b0, b1);
    if (!m->reset_after) {
        p.dx = k->extra;
        p.gates = 1;
        p.at = p.from = 2;
        lstmc_back_multiply(k, &p, i, b0, b1);
        gru_cells_back(k, LSTMC_CELL_SECOND, i, b0, b1);
        p.at = p.from = 0;
    }
    /* What comes through R, from zero or from da r with a mask, else from what h's gradient is so far. */
    p.dx = masked ? k->extra : k->dh;
    p.gates = 2;
    p.add = !masked || !m->reset_after;
    p.raw = m->reset_after;
    lstmc_back_multiply(k, &p, i, b0, b1);
    if (m->reset_after) {
        p.gates = 1;
        p.at = 2;
        p.from = 3;
        p.add = 1;
        p.raw = 0;
        lstmc_back_multiply(k, &p, i, b0, b1);
    }
    if (masked) lstmc_back_masked(k, k->extra, k->dh, b0, b1);
}

static void train_gru_gradients(const lstmc_back *k, const lstmc_weight_args *args) {
    const lstmc_train_recurrent *t = k->t;
    const lstmc_recurrent *m = &t->m;
    lstmc_weight_args w = *args;
    const lstmc_view q = {k->gates.data + 3 * k->gate, k->gates.batch_stride, k->gates.time_stride};
    if (t->dhh) {
        w.dw = t->dhh;
        w.of = 3;
        w.gates = 2;
        lstmc_weight_gradient(k->node, k->call, &w);
        w.gates = 1;
        w.at = 2;
        if (m->reset_after) {
            w.dy = q;
        } else {
            w.x = q;
            w.x_some = w.some;
            w.x_back = w.dy_back;
            w.dy.data += 2 * k->gate;
        }
        lstmc_weight_gradient(k->node, k->call, &w);
    }
    if (t->drecurrent_bias) {
        w = *args;
        w.dw = t->drecurrent_bias;
        w.gates = 1;
        w.dy = q;
        lstmc_bias_gradient(k->node, k->call, &w);
    }
}

static const lstmc_train_cell trained_gru = {
    .kept = 4,
    .fns = {0, 0, 1, LSTMC_NONE},
    .keep = gru_keep_kernel,
    .masked_advance = gru_masked_advance,
    .again = gru_again,
    .back = train_gru_place,
    .gradients = train_gru_gradients,
};

static void train_gru_prepare(const lstmc_train_layer *l, void *prepared) {
    lstmc_train_recurrent_prepare(l, &trained_gru, prepared);
}

const lstmc_train_ops lstmc_train_gru = {
    .code = 6,
    .prepared_size = sizeof(lstmc_train_recurrent),
    .blocks = 2, /* the mask */
    .prepare = train_gru_prepare,
    .plan = lstmc_train_recurrent_plan,
    .forward = lstmc_train_recurrent_forward,
    .backward = lstmc_train_recurrent_backward,
    .refresh = lstmc_train_recurrent_refresh,
};
