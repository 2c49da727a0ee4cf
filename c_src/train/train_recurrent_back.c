/* The training of LSTM, GRU and RNN: the frame of backward. It goes through the steps in reverse, rows side
 * by side, and leaves the gradients of all pre-activations; the gradients of weights and of x are
 * products of them. Where gates are to be made again, rows come one at a time, and some steps of them:
 * so that the order of every sum stays. */
#include "train_recurrent.h"

#include <string.h>

/* Scratch: dh, dc, extra and first of each row; then, for a projection, the gradient of every h and what
 * it was made of; then, of the steps whose gates are made again, these, and what they are made of. */
size_t lstmc_back_scratch(const lstmc_train_recurrent *t) {
    const lstmc_recurrent *m = &t->m;
    const size_t row = (size_t)m->out + 2 * (size_t)m->units + 1;
    const size_t each = m->hr ? (size_t)m->out + m->units : 0;
    const size_t rows = lstmc_size_mul(t->batch, row);
    if (!t->again) {
        const size_t steps = lstmc_size_mul(t->batch, t->time);
        return lstmc_size_add(rows, lstmc_size_mul(steps, each));
    }
    size_t step = each + (size_t)t->kept * m->units + (size_t)m->gates * m->padded;
    step += (size_t)m->cell->buffers * m->padded + (t->masked ? m->out_padded : 0);
    const size_t zeros = (size_t)m->gates * m->padded;
    return lstmc_size_add(rows, lstmc_size_add(zeros, lstmc_size_mul(t->again, step)));
}

void lstmc_back_multiply(const lstmc_back *k, const lstmc_back_product *p, uint32_t i, uint32_t b0,
                         uint32_t b1) {
    const lstmc_recurrent *m = &k->t->m;
    lstmc_input_args n;
    memset(&n, 0, sizeof n);
    n.plain = k->t->plain ? k->node->packed + p->plain_at : NULL;
    n.w = p->w;
    n.gates = p->gates;
    n.of = p->of;
    n.at = p->at;
    n.units = m->units;
    n.k = p->k;
    n.panel = m->panel;
    n.dy_gate = m->units;
    n.add = p->add;
    n.raw = p->raw;
    lstmc_input_rows(k->node, &n, lstmc_back_at(k, &k->gates, b0, i) + p->from * k->gate,
                     (ptrdiff_t)k->gates.batch_stride, p->dx + (size_t)b0 * p->k, p->k, b1 - b0);
}

void lstmc_back_masked(const lstmc_back *k, const float *x, const float *add, uint32_t b0,
                       uint32_t b1) {
    const size_t out = k->t->m.out;
    for (size_t b = b0; b < b1; b++) {
        LSTMC_TRAIN_KERNEL(k->node->kernels, masked, x + b * out, k->node->mask + b * out,
                           add ? add + b * out : NULL, k->dh + b * out, out);
    }
}

/* The places [i0, i1) of the rows [b0, b1), the last first. */
static void back_places(const lstmc_back *k, uint32_t i0, uint32_t i1, uint32_t b0, uint32_t b1) {
    const lstmc_recurrent *m = &k->t->m;
    const lstmc_view *dy = k->node->dy;
    for (uint32_t i = i1; i-- > i0;) {
        const uint32_t t = m->reverse ? k->steps - 1 - i : i;
        for (uint32_t b = b0, end; b < b1; b = end) {
            const int why = lstmc_standing(k->call, m, t, b);
            end = b + 1;
            if (why) {
                lstmc_zeros(lstmc_back_at(k, &k->gates, b, i), (size_t)k->t->kept * m->units);
                /* Only the output of a step may be repeated: a state is the same number. */
                if (why == 2 || !m->hold || (float)i < k->first[b]) continue;
            } else {
                while (end < b1 && !lstmc_standing(k->call, m, t, end)) end++;
            }
            for (uint32_t row = b; dy->data && row < end; row++) {
                LSTMC_TRAIN_KERNEL(k->node->kernels, add, lstmc_at(dy, row, t),
                                   k->dh + (size_t)row * m->out, m->out, 1);
            }
            if (!why) k->t->train->back(k, i, b, end);
        }
    }
}

/* How many places there are before the first that is valid. */
static uint32_t back_first(const lstmc_back *k, uint32_t b) {
    const lstmc_recurrent *m = &k->t->m;
    uint32_t i = 0;
    while (i < k->steps && lstmc_standing(k->call, m, m->reverse ? k->steps - 1 - i : i, b)) i++;
    return i;
}

/* What the gradients of the last states are, before the first step of backward. */
static void back_enter(const lstmc_back *k, uint32_t b) {
    const lstmc_recurrent *m = &k->t->m;
    float *states[2] = {k->dh + (size_t)b * m->out, k->dc + (size_t)b * m->units};
    for (uint32_t i = 0; i < 2 && i < m->cell->states; i++) {
        const lstmc_view *dy = k->node->dy + 1 + i;
        const uint32_t n = i ? m->units : m->out;
        if (dy->data) {
            LSTMC_KERNEL(k->node->node->full, map, &lstmc_linear, 1, lstmc_at(dy, b, 0), states[i],
                         n);
        } else {
            lstmc_zeros(states[i], n);
        }
    }
    if (m->hold) k->first[b] = (float)back_first(k, b);
}

/* And what is left of them for the first states, after the last one. */
static void back_leave(const lstmc_back *k, uint32_t b) {
    const lstmc_recurrent *m = &k->t->m;
    const float *states[2] = {k->dh + (size_t)b * m->out, k->dc + (size_t)b * m->units};
    const uint32_t fixed[2] = {k->t->fixed_h, k->t->fixed_c};
    for (uint32_t i = 0; i < 2 && i < m->cell->states && 2 + i < k->t->input_count; i++) {
        const lstmc_view *dx = k->node->dx + 2 + i;
        const uint32_t n = i ? m->units : m->out;
        if (!dx->data) continue;
        if (fixed[i] && k->t->carry) {
            lstmc_zeros(lstmc_at(dx, b, 0), n);
        } else {
            memcpy(lstmc_at(dx, b, 0), states[i], n * sizeof(float));
        }
    }
}

typedef struct back_shared {
    const lstmc_back *k;
    uint32_t parts;
} back_shared;

static void back_part(void *argument, uint32_t part) {
    const back_shared *s = (const back_shared *)argument;
    const uint32_t batch = lstmc_batch(s->k->call);
    const uint32_t b0 = lstmc_part_start(batch, s->parts, part);
    const uint32_t b1 = lstmc_part_start(batch, s->parts, part + 1);
    for (uint32_t b = b0; b < b1; b++) back_enter(s->k, b);
    back_places(s->k, 0, s->k->steps, b0, b1);
    for (uint32_t b = b0; b < b1; b++) back_leave(s->k, b);
}

/* Those that all cells have: of weight_ih, weight_hh and bias; x and h as they were multiplied. */
static void back_weight_sums(const lstmc_back *k) {
    const lstmc_train_recurrent *t = k->t;
    const lstmc_recurrent *m = &t->m;
    lstmc_weight_args w;
    memset(&w, 0, sizeof w);
    w.dy = k->gates;
    w.dy_back = m->reverse;
    w.ascending = m->reverse;
    w.gates = m->gates;
    w.units = m->units;
    w.dy_gate = m->units;
    w.panel = m->panel;
    w.id = m->x;
    w.some = t->again != 0;
    w.row = k->row;
    w.first = k->first_place;
    w.count = k->count;
    if (m->mask != LSTMC_NONE) {
        const lstmc_view mask = k->call->views[m->mask];
        w.mask = mask.data;
        w.mask_batch_stride = mask.batch_stride;
        w.mask_time_stride = mask.time_stride;
    }
    if (t->dih) {
        lstmc_weight_args now = w;
        now.dw = t->dih;
        now.x = k->call->views[m->x];
        now.k = m->input;
        lstmc_weight_gradient(k->node, k->call, &now);
    }
    if (t->dbias) {
        lstmc_weight_args now = w;
        now.dw = t->dbias;
        lstmc_bias_gradient(k->node, k->call, &now);
    }
    w.x_back = m->reverse;
    w.x = k->h;
    w.k = m->out;
    t->train->gradients(k, &w);
}

static void back_inputs(const lstmc_back *k) {
    const lstmc_recurrent *m = &k->t->m;
    lstmc_input_args n;
    memset(&n, 0, sizeof n);
    n.plain = k->t->plain ? k->node->packed + k->t->ih_at : NULL;
    n.w = m->ih;
    n.dx = k->node->dx[0];
    n.dy = k->gates;
    n.dy_back = m->reverse;
    n.gates = m->gates;
    n.units = m->units;
    n.dy_gate = m->units;
    n.k = m->input;
    n.panel = m->panel;
    n.rows = lstmc_batch(k->call);
    n.steps = k->steps;
    if (k->t->again) {
        const uint32_t end = k->steps - k->first_place;
        n.dx.data = lstmc_at(&n.dx, k->row, m->reverse ? end - k->count : k->first_place);
        n.dx.batch_stride = k->count * n.dx.time_stride;
        n.rows = 1;
        n.steps = k->count;
    }
    lstmc_input_gradient(k->node, k->call, &n);
}

/* h before the places [i0, i1) of a row as it was multiplied. */
static void mask_places(const lstmc_back *k, uint32_t b, uint32_t i0, uint32_t i1, float *to,
                        size_t stride) {
    const uint32_t out = k->t->m.out;
    const float *mask = k->node->mask + (size_t)b * out;
    for (uint32_t i = i0; i < i1; i++, to += stride) {
        LSTMC_TRAIN_KERNEL(k->node->kernels, masked, lstmc_at(&k->h, b, i), mask, NULL, to, out);
    }
}

/* What follows from the gradients of pre-activations. No one needs h as it was any more. */
static void back_products(const lstmc_back *k, uint32_t b0, uint32_t b1, uint32_t i0, uint32_t i1) {
    for (uint32_t b = b0; k->node->mask && b < b1; b++) {
        mask_places(k, b, i0, i1, lstmc_at(&k->h, b, i0), k->h.time_stride);
    }
    back_weight_sums(k);
    if (k->node->dx[0].data) back_inputs(k);
}

/* The gates of the places k->first_place on, k->count of row k->row, as forward had them, in scratch from
 * `at` on: zeros, pre-activations, the cell's buffers and masked h. The steps of a row take the part of the
 * rows of forward's frame: all states are known. */
static void gates_again(const lstmc_back *k, float *at) {
    const lstmc_train_recurrent *t = k->t;
    const lstmc_recurrent *m = &t->m;
    const uint32_t b = k->row, i0 = k->first_place, n = k->count;
    const size_t row = (size_t)m->gates * m->padded;
    const lstmc_view x = k->call->views[m->x];
    lstmc_frame r;
    lstmc_product p;
    memset(&r, 0, sizeof r);
    memset(&p, 0, sizeof p);
    r.m = m;
    r.node = k->node->node;
    r.call = k->call;
    r.split = lstmc_parts(k->call, (float)n * lstmc_row_work(m, m->input + m->out), m->padded) > 1;
    r.zeros = at;
    r.pre = at + row;
    r.buffer = r.pre + n * row;
    r.h[0] = r.h[1] = lstmc_at(&k->h, b, i0);
    r.state_stride = m->out_padded;
    r.c = k->c.data;
    lstmc_zeros(at, row);
    if (k->node->mask) {
        r.h[0] = r.buffer + (size_t)n * m->cell->buffers * m->padded;
        mask_places(k, b, i0, i0 + n, r.h[0], m->out_padded);
    }
    p.w = m->ih;
    p.k = m->input;
    p.padded = m->padded;
    p.init = m->bias ? m->bias : r.zeros;
    p.gates = p.weight.of = p.from.of = p.to.of = m->gates;
    p.y_stride = row;
    p.rows = m->reverse ? 1 : n;
    p.v_stride = x.time_stride;
    for (uint32_t i = 0; i < n; i += p.rows) {
        p.v = lstmc_at(&x, b, m->reverse ? k->steps - 1 - i0 - i : i0 + i);
        p.y = r.pre + i * row;
        lstmc_multiply(&r, &p);
    }
    const float *c = lstmc_at(&k->c, b, i0);
    t->train->again(&r, c, n);
    lstmc_cell_train_args a = lstmc_train_cell_args(t);
    for (uint32_t i = 0; i < n; i++) {
        a.pre = r.pre + i * row;
        a.more = m->cell->buffers ? r.buffer + (size_t)i * m->padded : NULL;
        a.old = c + (size_t)i * m->padded;
        a.c = a.old + m->padded;
        a.gates = lstmc_back_at(k, &k->gates, b, i0 + i);
        lstmc_train_cells(t, k->node, t->train->keep, &a);
    }
}

/* Row by row, some places at a time from the last on. */
static void back_again(lstmc_back *k, float *at) {
    const uint32_t most = k->t->again;
    for (uint32_t b = 0; b < lstmc_batch(k->call); b++) {
        k->row = b;
        back_enter(k, b);
        for (uint32_t i1 = k->steps, i0; i1 > 0; i1 = i0) {
            i0 = i1 > most ? i1 - most : 0;
            k->first_place = i0;
            k->count = i1 - i0;
            gates_again(k, at);
            back_places(k, i0, i1, b, b + 1);
            back_products(k, b, b + 1, i0, i1);
        }
        back_leave(k, b);
    }
}

void lstmc_train_recurrent_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const lstmc_train_recurrent *t = (const lstmc_train_recurrent *)node->prepared;
    const lstmc_recurrent *m = &t->m;
    const uint32_t batch = lstmc_batch(call);
    lstmc_back k;
    memset(&k, 0, sizeof k);
    k.t = t;
    k.node = node;
    k.call = call;
    k.steps = lstmc_steps(call, m->x);
    lstmc_kept_views(t, node->saved, k.steps, &k.h, &k.c, &k.gates);
    k.gate = m->units;
    k.dh = call->scratch;
    k.dc = k.dh + (size_t)batch * m->out;
    k.extra = k.dc + (size_t)batch * m->units;
    k.first = k.extra + (size_t)batch * m->units;
    float *at = k.first + batch;
    const size_t rows = t->again ? 1 : batch, places = t->again ? t->again : k.steps;
    if (t->again) {
        k.gates.data = at;
        at += places * k.gates.time_stride;
    }
    if (m->hr) {
        k.all_dh.data = at;
        k.all_dh.time_stride = m->out;
        k.all_dh.batch_stride = places * m->out;
        k.all_m.data = k.all_dh.data + rows * k.all_dh.batch_stride;
        k.all_m.time_stride = m->units;
        k.all_m.batch_stride = places * m->units;
        at = k.all_m.data + rows * k.all_m.batch_stride;
    }
    if (t->again) {
        back_again(&k, at);
        return;
    }
    if (lstmc_train_is_fused(node, call)) {
        for (uint32_t b = 0; b < batch; b++) back_enter(&k, b);
        lstmc_train_fused_loop(node, call, node->dy, k.dh, k.dc, m->units);
        for (uint32_t b = 0; b < batch; b++) back_leave(&k, b);
    } else {
        const float work = (float)batch * (float)k.steps * lstmc_row_work(m, m->out);
        back_shared s = {&k, lstmc_parts(call, work, batch)};
        lstmc_for_parts(call, s.parts, back_part, &s);
    }
    back_products(&k, 0, batch, 0, k.steps);
}
