/* The training of LSTM, GRU and RNN: what forward keeps. It is the layer's own frame, with a cell whose
 * step keeps what backward needs. */
#include "train_recurrent.h"

#include <string.h>

/* Steps whose gates are made again at once: more than a tile of rows, few beside a sequence. */
#define AGAIN_STEPS 16u

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
    t->masked = l->dropout;
    t->again = 0;
    if (l->recompute) t->again = t->time < AGAIN_STEPS ? t->time : AGAIN_STEPS;
    t->wants_x = lstmc_train_wants(l, 0) != 0;
    t->kept = cell->kept;
    t->outputs = 0;
    for (uint32_t g = 0; g < cell->kept; g++) {
        const int has = cell->fns[g] != LSTMC_NONE && m->clip == 0.0f;
        if (has && lstmc_fn_is_quick(&m->fn[cell->fns[g]])) t->outputs |= (uint32_t)1 << g;
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

void lstmc_train_recurrent_plan(const lstmc_train_layer *l, lstmc_train_need *need) {
    lstmc_train_recurrent t;
    lstmc_need forward;
    memset(&forward, 0, sizeof forward);
    lstmc_train_find(l->layer.code)->prepare(l, &t);
    lstmc_recurrent_needs(&t.m, l->layer.model, l->batch, l->time, &forward);
    const size_t back = lstmc_back_scratch(&t);
    const size_t gates = lstmc_size_mul((size_t)t.kept * t.m.units, t.again ? 0 : t.time);
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

void lstmc_kept_views(const lstmc_train_recurrent *t, float *saved, uint32_t steps, lstmc_view *h,
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
    if (node->mask && t->train->masked_advance) {
        const lstmc_view before = {lstmc_at(&k->h, 0, i), k->h.batch_stride, 0};
        t->train->masked_advance(r, &before, time, b0, b1);
    } else {
        t->m.cell->step(r, time, b0, b1);
    }
    if (t->again) return;
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
    lstmc_kept_views(t, node->saved, steps, &k.h, &k.c, &k.gates);
    lstmc_recurrent_run(&k.node, call);
    node->node->parity = k.node.parity;
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const float *state = node->node->state + b * node->node->state_stride;
        keep_states(m, &k, state + node->node->parity * (size_t)m->room,
                    state + 2 * (size_t)m->room, b, steps);
        if (lstmc_lengths(call) || m->mask != LSTMC_NONE) keep_standing(m, &k, call, b);
    }
}
