/* LSTM, backward. Of a step, dh and dc being the gradients of the new h and c:
 *
 *     dm = weight_hr^T dh, or dh         di = dc g gate'(i)
 *     do = dm output(c') gate'(o)        df = dc c gate'(f)
 *     dc += dm o output'(c') + p_o do    dg = dc i candidate'(g)
 *     then dc = dc f + p_i di + p_f df and dh = R^T (di df dg do).
 *
 * docs/RECURRENT.md has it all, and in what order. */
#include "train_layers.h"
#include "train_recurrent.h"

#include <string.h>

static void lstm_keep_kernel(const lstmc_train_kernels *kernels,
                             const lstmc_cell_train_args *args) {
    LSTMC_TRAIN_KERNEL(kernels, lstm_keep, args);
}

static void lstm_back_kernel(const lstmc_train_kernels *kernels,
                             const lstmc_cell_train_args *args) {
    LSTMC_TRAIN_KERNEL(kernels, lstm_back, args);
}

static void lstm_again(const lstmc_frame *r, const float *c, uint32_t rows) {
    const lstmc_recurrent *m = r->m;
    lstmc_product p = lstmc_hidden_product(r, 0, rows);
    lstmc_multiply(r, &p);
    if (!m->ch) return;
    p.w = m->ch;
    p.v = c;
    p.v_stride = m->padded;
    p.k = m->units;
    if (!m->sees_old) p.gates = 3;
    lstmc_multiply(r, &p);
    if (m->sees_old) return;
    p.v = c + m->padded; /* o saw the new c */
    p.gates = 1;
    p.weight.at = p.from.at = p.to.at = 3;
    lstmc_multiply(r, &p);
}

/* The projection: what comes to o * output(c'). dh is kept, for the gradient of weight_hr. */
static void lstm_unproject(const lstmc_back *k, uint32_t i, uint32_t b0, uint32_t b1) {
    const lstmc_recurrent *m = &k->t->m;
    lstmc_input_args n;
    memset(&n, 0, sizeof n);
    n.plain = k->t->plain ? k->node->packed + k->t->hr_at : NULL;
    n.w = m->hr;
    n.gates = 1;
    n.units = m->out;
    n.k = m->units;
    n.panel = m->panel;
    lstmc_input_rows(k->node, &n, k->dh + (size_t)b0 * m->out, (ptrdiff_t)m->out,
                     k->extra + (size_t)b0 * m->units, m->units, b1 - b0);
    for (uint32_t b = b0; b < b1; b++) {
        memcpy(lstmc_back_at(k, &k->all_dh, b, i), k->dh + (size_t)b * m->out,
               m->out * sizeof(float));
    }
}

static void lstm_cells_back(const lstmc_back *k, uint32_t part, uint32_t flush, uint32_t i,
                            uint32_t b0, uint32_t b1) {
    const lstmc_recurrent *m = &k->t->m;
    lstmc_cell_train_args a = lstmc_train_cell_args(k->t);
    a.part = part;
    a.flush = flush;
    for (uint32_t b = b0; b < b1; b++) {
        a.old = lstmc_at(&k->c, b, i);
        a.c = lstmc_at(&k->c, b, i + 1);
        a.gates = lstmc_back_at(k, &k->gates, b, i);
        a.dm = (m->hr ? k->extra : k->dh) + (size_t)b * m->units;
        a.m = k->all_m.data ? lstmc_back_at(k, &k->all_m, b, i) : NULL;
        a.dc = k->dc + (size_t)b * m->units;
        lstmc_train_cells(k->t, k->node, lstm_back_kernel, &a);
    }
}

/* dc += weight_ch^T of some gates. */
static void lstm_back_ch(const lstmc_back *k, uint32_t at, uint32_t gates, uint32_t raw, uint32_t i,
                         uint32_t b0, uint32_t b1) {
    const lstmc_recurrent *m = &k->t->m;
    lstmc_back_product p;
    memset(&p, 0, sizeof p);
    p.w = m->ch;
    p.plain_at = k->t->ch_at;
    p.of = 4;
    p.at = p.from = at;
    p.gates = gates;
    p.dx = k->dc;
    p.k = m->units;
    p.add = 1;
    p.raw = raw;
    lstmc_back_multiply(k, &p, i, b0, b1);
}

static void train_lstm_place(const lstmc_back *k, uint32_t i, uint32_t b0, uint32_t b1) {
    const lstmc_recurrent *m = &k->t->m;
    if (m->hr) lstm_unproject(k, i, b0, b1);
    if (m->ch && !m->sees_old) { /* o saw all of the new c */
        lstm_cells_back(k, LSTMC_CELL_FIRST, 0, i, b0, b1);
        lstm_back_ch(k, 3, 1, 1, i, b0, b1);
        lstm_cells_back(k, LSTMC_CELL_SECOND, 0, i, b0, b1);
        lstm_back_ch(k, 0, 3, 0, i, b0, b1);
    } else {
        lstm_cells_back(k, LSTMC_CELL_FIRST | LSTMC_CELL_SECOND, !m->ch, i, b0, b1);
        if (m->ch) lstm_back_ch(k, 0, 4, 0, i, b0, b1);
    }
    lstmc_back_product p;
    memset(&p, 0, sizeof p);
    p.w = m->hh;
    p.plain_at = k->t->hh_at;
    p.of = p.gates = 4;
    p.dx = k->dh;
    p.k = m->out;
    lstmc_back_multiply(k, &p, i, b0, b1);
    if (k->node->mask) lstmc_back_masked(k, k->dh, NULL, b0, b1);
}

static lstmc_view next_place(const lstmc_view *v) {
    lstmc_view next = *v;
    next.data += next.time_stride;
    return next;
}

/* Gates [at, at + count) of weight_ch. */
static void gradient_ch(const lstmc_back *k, const lstmc_weight_args *args, const lstmc_view *c,
                        uint32_t at, uint32_t count) {
    lstmc_weight_args w = *args;
    w.dw = k->t->dch;
    w.x = *c;
    w.k = w.units;
    w.of = 4;
    w.at = at;
    w.gates = count;
    w.dy.data += at * k->gate;
    lstmc_weight_gradient(k->node, k->call, &w);
}

/* Gate `at` of the peepholes i f o. */
static void gradient_peephole(const lstmc_back *k, const lstmc_weight_args *args,
                              const lstmc_view *c, uint32_t at, uint32_t gate) {
    lstmc_weight_args w = *args;
    w.dw = k->t->dpeephole;
    w.x = *c;
    w.k = w.gates = w.diagonal = 1;
    w.of = 3;
    w.at = at;
    w.dy.data += gate * k->gate;
    lstmc_weight_gradient(k->node, k->call, &w);
}

static void train_lstm_gradients(const lstmc_back *k, const lstmc_weight_args *args) {
    const lstmc_train_recurrent *t = k->t;
    const lstmc_recurrent *m = &t->m;
    const lstmc_view after = next_place(&k->c), *seen = m->sees_old ? &k->c : &after;
    lstmc_weight_args w = *args;
    if (t->dhh) {
        w.dw = t->dhh;
        lstmc_weight_gradient(k->node, k->call, &w);
    }
    if (t->dch) {
        gradient_ch(k, args, &k->c, 0, 3);
        gradient_ch(k, args, seen, 3, 1);
    }
    if (t->dpeephole) {
        gradient_peephole(k, args, &k->c, 0, 0);
        if (!m->coupled) gradient_peephole(k, args, &k->c, 1, 1);
        gradient_peephole(k, args, seen, 2, 3);
    }
    if (t->dhr) {
        w.dw = t->dhr;
        w.x = k->all_m;
        w.x_some = w.some;
        w.dy = k->all_dh;
        w.gates = 1;
        w.units = m->out;
        w.k = m->units;
        lstmc_weight_gradient(k->node, k->call, &w);
    }
}

static const lstmc_train_cell trained_lstm = {
    .kept = 4,
    .fns = {0, 0, 1, 0},
    .keep = lstm_keep_kernel,
    .again = lstm_again,
    .back = train_lstm_place,
    .gradients = train_lstm_gradients,
};

static void train_lstm_prepare(const lstmc_train_layer *l, void *prepared) {
    lstmc_train_recurrent_prepare(l, &trained_lstm, prepared);
}

const lstmc_train_ops lstmc_train_lstm = {
    .code = 1,
    .prepared_size = sizeof(lstmc_train_recurrent),
    .blocks = 2, /* the mask */
    .prepare = train_lstm_prepare,
    .plan = lstmc_train_recurrent_plan,
    .forward = lstmc_train_recurrent_forward,
    .backward = lstmc_train_recurrent_backward,
    .refresh = lstmc_train_recurrent_refresh,
};
