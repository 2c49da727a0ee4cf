/* The frame of the training of LSTM, GRU and RNN.
 *
 * Forward is the layer's own frame, with a cell whose step keeps what backward needs. Backward goes
 * through the steps in reverse, rows side by side, and leaves the gradients of all pre-activations; the
 * gradients of weights and of x are products of them. */
#include "train_recurrent.h"

#include <string.h>

/* ------------------------------------------------------------------------------------- record -- */

void lstmc_train_recurrent_prepare(const lstmc_train_layer *l, const lstmc_train_cell *cell,
                                   void *prepared) {
    lstmc_train_recurrent *t = (lstmc_train_recurrent *)prepared;
    lstmc_recurrent *m = &t->m;
    const lstmc_layer *layer = &l->layer;
    lstmc_layer_find(layer->code)->prepare(layer, m);
    t->fused = m->fused;
    m->fused = m->quick = 0;
    m->frugal = l->frugal;
    t->train = cell;
    t->dih = lstmc_train_gradient(l, 0);
    t->dhh = lstmc_train_gradient(l, 1);
    t->dbias = lstmc_train_gradient(l, 2);
    t->dpeephole = m->peephole ? lstmc_train_gradient(l, 3) : NULL;
    t->dch = m->ch ? lstmc_train_gradient(l, 4) : NULL;
    t->dhr = m->hr ? lstmc_train_gradient(l, 5) : NULL;
    t->drecurrent_bias = m->recurrent_bias ? lstmc_train_gradient(l, 3) : NULL;
    t->batch = l->batch;
    const lstmc_value x = lstmc_value_get(layer->model, m->x);
    t->time = lstmc_value_steps(&x, l->time);
    t->input_count = layer->input_count;
    t->fixed_h = m->start_h != NULL;
    t->fixed_c = m->start_c != NULL;
    t->carry = l->carry;
    t->wants_x = lstmc_train_wants(l, 0) != 0;
    t->kept = cell->kept;
    t->outputs = 0;
    for (uint32_t g = 0; g < cell->kept; g++) {
        const int has = cell->fns[g] != LSTMC_NONE && m->clip == 0.0f;
        t->outputs |= (uint32_t)(has && lstmc_fn_is_quick(&m->fn[cell->fns[g]])) << g;
    }
    const size_t slots = lstmc_size_mul(t->batch, (size_t)t->time + 1);
    t->c_at = lstmc_size_mul(slots, m->out_padded);
    t->gates_at =
        m->cell->states > 1 ? lstmc_size_add(t->c_at, lstmc_size_mul(slots, m->padded)) : t->c_at;
    t->plain = !l->frugal;
    t->ih_at = t->hh_at = t->ch_at = t->hr_at = t->packed = 0;
    if (!t->plain) return;
    if (t->wants_x) t->packed = lstmc_plain_size(m->gates, m->units, m->input);
    t->hh_at = t->packed;
    t->packed += lstmc_plain_size(m->gates, m->units, m->out);
    t->ch_at = t->packed;
    if (m->ch) t->packed += lstmc_plain_size(4, m->units, m->units);
    t->hr_at = t->packed;
    if (m->hr) t->packed += lstmc_plain_size(1, m->out, m->units);
}

/* Scratch of backward: dh, dc, extra and first of each row; then, for a projection, the gradient of every
 * h and what it was made of. */
static size_t back_scratch(const lstmc_train_recurrent *t) {
    const lstmc_recurrent *m = &t->m;
    size_t row = (size_t)m->out + 2 * (size_t)m->units + 1;
    if (m->hr) row = lstmc_size_add(row, lstmc_size_mul(t->time, (size_t)m->out + m->units));
    return lstmc_size_mul(t->batch, row);
}

void lstmc_train_recurrent_plan(const lstmc_train_layer *l, lstmc_train_need *need) {
    lstmc_train_recurrent t;
    lstmc_need forward;
    memset(&forward, 0, sizeof forward);
    lstmc_train_find(l->layer.code)->prepare(l, &t);
    lstmc_recurrent_needs(&t.m, l->layer.model, l->batch, l->time, &forward);
    const size_t back = back_scratch(&t);
    const size_t gates = lstmc_size_mul((size_t)t.kept * t.m.units, t.time);
    need->scratch = forward.scratch > back ? forward.scratch : back;
    if (t.fused) {
        const size_t fused = lstmc_train_fused_scratch(&t);
        if (fused > need->scratch) need->scratch = fused;
    }
    need->saved = lstmc_size_add(t.gates_at, lstmc_size_mul(t.batch, gates));
    need->packed = t.packed;
}

void lstmc_train_recurrent_refresh(const lstmc_train_node *node) {
    const lstmc_train_recurrent *t = (const lstmc_train_recurrent *)node->prepared;
    const lstmc_recurrent *m = &t->m;
    float *packed = node->packed;
    if (!t->plain) return;
    if (t->wants_x) {
        lstmc_plain_weights(m->ih, m->gates, m->units, m->input, m->panel, packed + t->ih_at);
    }
    lstmc_plain_weights(m->hh, m->gates, m->units, m->out, m->panel, packed + t->hh_at);
    if (m->ch) lstmc_plain_weights(m->ch, 4, m->units, m->units, m->panel, packed + t->ch_at);
    if (m->hr) lstmc_plain_weights(m->hr, 1, m->out, m->units, m->panel, packed + t->hr_at);
}

/* -------------------------------------------------------------------------------------- cells -- */

lstmc_cell_train_args lstmc_train_cell_args(const lstmc_train_recurrent *t) {
    lstmc_cell_train_args a;
    memset(&a, 0, sizeof a);
    memcpy(a.fn, t->m.fn, sizeof a.fn);
    a.clip = t->m.clip;
    a.outputs = t->outputs;
    a.coupled = t->m.coupled;
    a.sees_old = t->m.sees_old;
    a.reset_after = t->m.reset_after;
    a.stride = t->m.units;
    return a;
}

#define FROM(p) ((p) ? (p) + unit : NULL)

void lstmc_train_cells(const lstmc_train_recurrent *t, const lstmc_train_node *node,
                       void (*kernel)(const lstmc_train_kernels *kernels,
                                      const lstmc_cell_train_args *args),
                       const lstmc_cell_train_args *args) {
    const lstmc_recurrent *m = &t->m;
    for (uint32_t half = 0; half < 2; half++) {
        lstmc_cell_train_args a = *args;
        const size_t unit = half ? (size_t)m->full * m->panel : 0;
        a.panels = half ? (uint32_t)(m->padded % m->panel != 0) : m->full;
        if (!a.panels) continue;
        a.panel = half ? m->panel / 2 : m->panel;
        a.units = m->units - (uint32_t)unit;
        a.pre = a.pre ? a.pre + unit * m->gates : NULL;
        a.peephole = m->peephole ? m->peephole + unit * 3 : NULL;
        a.more = FROM(a.more);
        a.old = FROM(a.old);
        a.c = FROM(a.c);
        a.mask = FROM(a.mask);
        a.gates = FROM(a.gates);
        a.dm = FROM(a.dm);
        a.m = FROM(a.m);
        a.dh = FROM(a.dh);
        a.dc = FROM(a.dc);
        a.da = FROM(a.da);
        kernel(lstmc_train_kernels_for(node, half), &a);
    }
}

/* ------------------------------------------------------------------------------------ forward -- */

/* Forward's node, with what the step needs besides. */
typedef struct keeping_node {
    lstmc_node node; /* first: the frame has a pointer to it */
    const lstmc_train_node *train;
    lstmc_recurrent m;
    lstmc_cell cell;
    lstmc_view h, c, gates;
} keeping_node;

static void kept_views(const lstmc_train_recurrent *t, float *saved, uint32_t steps, lstmc_view *h,
                       lstmc_view *c, lstmc_view *gates) {
    const lstmc_recurrent *m = &t->m;
    h->data = saved;
    h->time_stride = m->out_padded;
    h->batch_stride = ((size_t)steps + 1) * h->time_stride;
    c->data = saved + t->c_at;
    c->time_stride = m->padded;
    c->batch_stride = ((size_t)steps + 1) * c->time_stride;
    gates->data = saved + t->gates_at;
    gates->time_stride = (size_t)t->kept * m->units;
    gates->batch_stride = steps * gates->time_stride;
}

static void copy_floats(float *to, const float *from, size_t n) {
    memcpy(to, from, n * sizeof *to);
}

/* The states of a row as they are now, to place i. */
static void keep_states(const lstmc_recurrent *m, const keeping_node *k, const float *h,
                        const float *c, uint32_t b, uint32_t i) {
    copy_floats(lstmc_at(&k->h, b, i), h, m->out_padded);
    if (m->cell->states > 1) copy_floats(lstmc_at(&k->c, b, i), c, m->padded);
}

/* The step of a cell that keeps. With dropout h is masked where it stands: no one but the step itself reads
 * it any more. */
static void keeping_advance(const lstmc_frame *r, uint32_t time, uint32_t b0, uint32_t b1) {
    const keeping_node *k = (const keeping_node *)(const void *)r->node;
    const lstmc_recurrent *m = r->m;
    const lstmc_train_node *node = k->train;
    const lstmc_train_recurrent *t = (const lstmc_train_recurrent *)node->prepared;
    const uint32_t i = lstmc_when(r, time);
    float *h = r->h[r->parity], *c = r->c;
    for (uint32_t b = b0; b < b1; b++) {
        const size_t row = b * r->state_stride;
        keep_states(m, k, h + row, c + row, b, i);
        if (!node->mask) continue;
        LSTMC_TRAIN_KERNEL(node->kernels, masked, h + row, node->mask + (size_t)b * m->out, NULL,
                           h + row, m->out);
    }
    if (node->mask && t->train->masked_step) {
        const lstmc_view before = {lstmc_at(&k->h, 0, i), k->h.batch_stride, 0};
        t->train->masked_step(r, &before, time, b0, b1);
    } else {
        t->m.cell->step(r, time, b0, b1);
    }
    lstmc_cell_train_args a = lstmc_train_cell_args(t);
    for (uint32_t b = b0; b < b1; b++) {
        const size_t row = b - b0;
        a.pre = r->pre + row * m->gates * m->padded;
        a.more = m->cell->buffers ? r->buffer + row * m->padded : NULL;
        a.old = m->cell->states > 1 ? lstmc_at(&k->c, b, i) : NULL;
        a.c = c + b * r->state_stride;
        a.gates = lstmc_at(&k->gates, b, i);
        lstmc_train_cells(t, node, t->train->keep, &a);
    }
}

/* States before steps that stand still are those after them. */
static void keep_standing(const lstmc_recurrent *m, const keeping_node *k, const lstmc_call *call,
                          uint32_t b) {
    const uint32_t steps = lstmc_steps(call, m->x);
    for (uint32_t i = steps; i-- > 0;) {
        if (!lstmc_standing(call, m, m->reverse ? steps - 1 - i : i, b)) continue;
        keep_states(m, k, lstmc_at(&k->h, b, i + 1), lstmc_at(&k->c, b, i + 1), b, i);
    }
}

void lstmc_train_recurrent_forward(const lstmc_train_node *node, const lstmc_call *call) {
    const lstmc_train_recurrent *t = (const lstmc_train_recurrent *)node->prepared;
    const lstmc_recurrent *m = &t->m;
    const uint32_t steps = lstmc_steps(call, m->x);
    keeping_node k;
    if (lstmc_train_is_fused(node, call)) {
        lstmc_train_fused_forward(node, call);
        return;
    }
    k.cell = *m->cell;
    k.cell.step = keeping_advance;
    k.m = *m;
    k.m.cell = &k.cell;
    k.node = *node->node;
    k.node.prepared = &k.m;
    k.train = node;
    kept_views(t, node->saved, steps, &k.h, &k.c, &k.gates);
    lstmc_recurrent_run(&k.node, call);
    node->node->parity = k.node.parity;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const float *state = node->node->state + b * node->node->state_stride;
        keep_states(m, &k, state + node->node->parity * (size_t)m->room,
                    state + 2 * (size_t)m->room, b, steps);
        if (lstmc_lengths(call) || m->mask != LSTMC_NONE) keep_standing(m, &k, call, b);
    }
}

/* ----------------------------------------------------------------------------------- backward -- */

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
    lstmc_input_rows(k->node, &n, lstmc_gates_at(k, b0, i) + p->from * k->gate,
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
                lstmc_zeros(lstmc_gates_at(k, b, i), (size_t)k->t->kept * m->units);
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
    for (uint32_t i = 0; i < m->cell->states; i++) {
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
    for (uint32_t i = 0; i < m->cell->states && 2 + i < k->t->input_count; i++) {
        const lstmc_view *dx = k->node->dx + 2 + i;
        const uint32_t n = i ? m->units : m->out;
        if (!dx->data) continue;
        if (fixed[i] && k->t->carry) {
            lstmc_zeros(lstmc_at(dx, b, 0), n);
        } else {
            copy_floats(lstmc_at(dx, b, 0), states[i], n);
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
static void back_weights(const lstmc_back *k) {
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
    lstmc_input_gradient(k->node, k->call, &n);
}

/* h of all steps as they were multiplied: from here on no one needs them as they were. */
static void mask_kept(const lstmc_back *k) {
    const uint32_t out = k->t->m.out;
    for (uint32_t b = 0; b < lstmc_batch(k->call); b++) {
        const float *mask = k->node->mask + (size_t)b * out;
        for (uint32_t i = 0; i < k->steps; i++) {
            float *h = lstmc_at(&k->h, b, i);
            LSTMC_TRAIN_KERNEL(k->node->kernels, masked, h, mask, NULL, h, out);
        }
    }
}

void lstmc_train_recurrent_backward(const lstmc_train_node *node, const lstmc_call *call) {
    const lstmc_train_recurrent *t = (const lstmc_train_recurrent *)node->prepared;
    const lstmc_recurrent *m = &t->m;
    const size_t batch = lstmc_batch(call);
    lstmc_back k;
    memset(&k, 0, sizeof k);
    k.t = t;
    k.node = node;
    k.call = call;
    k.steps = lstmc_steps(call, m->x);
    kept_views(t, node->saved, k.steps, &k.h, &k.c, &k.gates);
    k.gate = m->units;
    k.dh = call->scratch;
    k.dc = k.dh + batch * m->out;
    k.extra = k.dc + batch * m->units;
    k.first = k.extra + batch * m->units;
    if (m->hr) {
        k.all_dh.data = k.first + batch;
        k.all_dh.time_stride = m->out;
        k.all_dh.batch_stride = (size_t)k.steps * m->out;
        k.all_m.data = k.all_dh.data + batch * k.all_dh.batch_stride;
        k.all_m.time_stride = m->units;
        k.all_m.batch_stride = (size_t)k.steps * m->units;
    }
    const float work = (float)batch * (float)k.steps * lstmc_row_work(m, m->out);
    back_shared s = {&k, lstmc_parts(call, work, lstmc_batch(call))};
    if (lstmc_train_is_fused(node, call)) {
        for (uint32_t b = 0; b < lstmc_batch(call); b++) back_enter(&k, b);
        lstmc_train_fused_loop(node, call, node->dy, k.dh, k.dc, m->units);
        for (uint32_t b = 0; b < lstmc_batch(call); b++) back_leave(&k, b);
    } else {
        lstmc_for_parts(call, s.parts, back_part, &s);
    }
    if (node->mask) mask_kept(&k);
    back_weights(&k);
    if (node->dx[0].data) back_inputs(&k);
}
