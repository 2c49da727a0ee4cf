/* The recurrent frame.
 *
 * Inputs: x, mask, h0, c0, the last three optional. Outputs: sequence, last h (and last c); each may
 * be none. State, row by row: two buffers for h, the one read and the one written, which change
 * places at every step, and one for c; each in whole panels of full width, so that no vector
 * of a state lies in two lines of the cache. */
#include "recurrent.h"

#include <string.h>

/* Products of an input chunk are computed ahead in about this many floats (half of a small L2). */
#define AHEAD_FLOATS 65536u
/* With more rows than this a step alone fills the registers' tiles: nothing is gained ahead. */
#define AHEAD_ROWS 4u
/* With fewer inputs than this, storing and loading the sums costs more than the products. */
#define AHEAD_INPUTS 4u

/* ------------------------------------------------------------------------------------- record -- */

static int bad_flag(const lstmc_layer *l, uint32_t i) { return lstmc_param(l, i, 0) > 1; }

/* An optional input is absent, or has these features and no time. */
static int good_initial(const lstmc_layer *l, uint32_t i, uint32_t features) {
    if (lstmc_input(l, i) == LSTMC_NONE) return 1;
    const lstmc_value v = lstmc_value_get(l->model, l->inputs[i]);
    return !v.has_time && v.features == features;
}

int lstmc_recurrent_check(const lstmc_layer *l, uint32_t gates, uint32_t states, uint32_t out,
                          uint32_t first) {
    lstmc_tensor ih, hh, bias;
    if (l->input_count > 2 + states || l->output_count != 1 + states) return LSTMC_E_INVALID;
    if (!lstmc_tensor_get(l, 0, &ih) || !lstmc_tensor_get(l, 1, &hh)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    if (!x.has_time || !lstmc_tensor_is(&ih, gates, ih.units, x.features, ih.panel) ||
        !lstmc_tensor_is(&hh, gates, ih.units, out, ih.panel) ||
        (lstmc_tensor_get(l, 2, &bias) && !lstmc_tensor_is(&bias, gates, ih.units, 1, ih.panel))) {
        return LSTMC_E_INVALID;
    }
    if (lstmc_input(l, 1) != LSTMC_NONE) {
        const lstmc_value mask = lstmc_value_get(l->model, l->inputs[1]);
        if (mask.features != 1 || !lstmc_same_steps(&x, &mask)) return LSTMC_E_INVALID;
    }
    if (!good_initial(l, 2, out) || !good_initial(l, 3, ih.units)) return LSTMC_E_INVALID;
    /* The largest finite float; a negative one or NaN has larger bits. */
    if (bad_flag(l, first) || bad_flag(l, first + 1) ||
        lstmc_param(l, first + 2, 0) > 0x7f7fffffu) {
        return LSTMC_E_INVALID;
    }
    if (!lstmc_layer_output(l, 0, lstmc_with_features(x, out)) ||
        !lstmc_layer_output(l, 1, lstmc_without_time(out)) ||
        (states > 1 && !lstmc_layer_output(l, 2, lstmc_without_time(ih.units)))) {
        return LSTMC_E_INVALID;
    }
    return LSTMC_OK;
}

/* The id of a computed initial state; the floats of a fixed one. */
static uint32_t initial_of(const lstmc_layer *l, uint32_t i, const float **fixed) {
    lstmc_tensor value;
    const uint32_t id = lstmc_input(l, i);
    if (id == LSTMC_NONE || !lstmc_value_fixed(l->model, id, &value)) return id;
    *fixed = value.data;
    return LSTMC_NONE;
}

void lstmc_recurrent_prepare(const lstmc_layer *l, const lstmc_cell *cell, uint32_t out,
                             uint32_t first, lstmc_recurrent *m) {
    lstmc_tensor ih, hh, bias;
    memset(m, 0, sizeof *m);
    (void)lstmc_tensor_get(l, 0, &ih);
    (void)lstmc_tensor_get(l, 1, &hh);
    m->cell = cell;
    m->gates = cell->gates;
    m->frugal = l->frugal;
    m->ih = ih.data;
    m->hh = hh.data;
    m->bias = lstmc_tensor_get(l, 2, &bias) ? bias.data : NULL;
    m->input = ih.k;
    m->panel = ih.panel;
    m->units = ih.units;
    m->padded = lstmc_padded(ih.units, ih.panel);
    m->full = m->padded / ih.panel;
    m->out = out;
    m->out_padded = lstmc_padded(out, ih.panel);
    m->room = lstmc_panel_count(out, ih.panel) * ih.panel;
    m->reverse = lstmc_param(l, first, 0);
    m->hold = lstmc_param(l, first + 1, 0);
    const uint32_t clip = lstmc_param(l, first + 2, 0);
    memcpy(&m->clip, &clip, sizeof m->clip);
    m->x = l->inputs[0];
    m->mask = lstmc_input(l, 1);
    m->h0 = initial_of(l, 2, &m->start_h);
    m->c0 = initial_of(l, 3, &m->start_c);
    m->sequence = l->outputs[0];
    m->h = l->outputs[1];
    m->c = cell->states > 1 ? l->outputs[2] : LSTMC_NONE;
}

int lstmc_recurrent_whole(const lstmc_layer *l) {
    lstmc_recurrent m;
    lstmc_layer_find(l->code)->prepare(l, &m);
    if (m.reverse || m.h0 != LSTMC_NONE || m.c0 != LSTMC_NONE) return 1;
    /* What a masked step repeats is the last output, which can't be told from an initial state. */
    return (m.start_h || m.start_c) && m.hold && m.mask != LSTMC_NONE;
}

/* ------------------------------------------------------------------------------------- memory -- */

/* Steps whose input products are computed ahead for that many rows. 0, in a fused cell only: none,
 * its step computes them. */
static uint32_t steps_ahead(const lstmc_recurrent *m, uint32_t batch, uint32_t time) {
    if (time < 2 || batch > AHEAD_ROWS || m->frugal || (m->fused && m->input < AHEAD_INPUTS)) {
        return !m->fused;
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.*): open sees to gates and units, lstmc_run to rows. */
    const size_t steps = AHEAD_FLOATS / ((size_t)m->gates * m->padded * batch);
    return steps < 2 ? 2 : steps < time ? (uint32_t)steps : time;
}

/* Scratch holds, one after another: zeros where a bias is absent, products ahead, the cell's buffers,
 * and sums of a fused cell for each part of a step. */
static size_t scratch_zeros(const lstmc_recurrent *m) {
    const size_t row = (size_t)m->gates * m->padded;
    if (m->bias && !m->hr && !(m->reset_after && !m->recurrent_bias)) return 0;
    return row > m->out_padded ? row : m->out_padded;
}

static size_t scratch_ahead(const lstmc_recurrent *m, uint32_t batch, uint32_t time) {
    const size_t row = (size_t)m->gates * m->padded;
    size_t most = m->fused ? 0 : lstmc_size_mul(row, batch);
    for (uint32_t b = 1; b <= batch && b <= AHEAD_ROWS; b++) { /* fewer rows take more steps */
        const size_t need = row * b * steps_ahead(m, b, time);
        if (need > most) most = need;
    }
    return most;
}

static size_t scratch_part(const lstmc_recurrent *m, uint32_t batch) {
    return m->fused && batch > 1 ? lstmc_size_mul(batch, (size_t)4 * m->panel) : 0;
}

/* Steps of the input where its clock has `time`: padding may have made them more. */
static uint32_t most_steps(const lstmc_model *model, const lstmc_recurrent *m, uint32_t time) {
    const lstmc_value x = lstmc_value_get(model, m->x);
    return lstmc_value_steps(&x, time);
}

/* The same for the largest call of a session. */
static uint32_t call_steps(const lstmc_call *call, const lstmc_recurrent *m, uint32_t time) {
#ifdef LSTMC_FROZEN
    (void)call;
    (void)m;
    return time; /* there is one kind of call */
#else
    (void)time;
    return most_steps(call->model, m, call->max_time);
#endif
}

/* Floats of c in a row's state. */
static size_t room_of_c(const lstmc_recurrent *m) {
    return (size_t)lstmc_panel_count(m->units, m->panel) * m->panel;
}

void lstmc_recurrent_needs(const lstmc_recurrent *m, const lstmc_model *model, uint32_t batch,
                           uint32_t time, lstmc_need *need) {
    time = most_steps(model, m, time);
    const size_t states = 2 * (size_t)m->room + (m->cell->states > 1 ? room_of_c(m) : 0);
    const size_t buffers = m->fused ? 0 : (size_t)m->cell->buffers * m->padded;
    need->state = lstmc_size_mul(batch, states);
    need->scratch = lstmc_size_add(scratch_zeros(m), scratch_ahead(m, batch, time));
    need->scratch = lstmc_size_add(need->scratch, lstmc_size_mul(batch, buffers));
    need->each = scratch_part(m, batch);
    need->work = lstmc_row_work(m, m->input + m->out);
}

void lstmc_recurrent_plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    lstmc_recurrent m;
    lstmc_layer_find(l->code)->prepare(l, &m);
    lstmc_recurrent_needs(&m, l->model, batch, time, need);
}

/* ----------------------------------------------------------------------------------- products -- */

/* The panels [i0, i1), all of one width; everything contiguous if all gates are taken. */
static void multiply_panels(const lstmc_kernels *kernels, const lstmc_product *p, uint32_t panel,
                            uint32_t width, uint32_t i0, uint32_t i1) {
    const int all =
        p->gates == p->weight.of && p->weight.of == p->from.of && p->weight.of == p->to.of;
    lstmc_matmul_args a;
    memset(&a, 0, sizeof a);
    a.x = p->v;
    a.x_stride = p->v_stride;
    a.y_stride = p->y_stride;
    a.init_stride = p->init_stride;
    a.rows = p->rows;
    a.k = p->k;
    a.raw = 1;
    a.panel = p->weight.of * width;
    a.columns = all ? (i1 - i0) * a.panel : p->gates * width;
    for (uint32_t i = i0; i < i1; i += all ? i1 - i0 : 1) {
        const size_t unit = (size_t)i * panel;
        a.w = p->w + unit * p->weight.of * p->k + (size_t)p->weight.at * width;
        a.init = p->init + unit * p->from.of + (size_t)p->from.at * width;
        a.y = p->y + unit * p->to.of + (size_t)p->to.at * width;
        LSTMC_KERNEL(kernels, matmul, &a);
    }
}

/* A product in parts, each some of its panels. */
typedef struct recurrent_shared {
    const lstmc_frame *r;
    const lstmc_product *p;
    uint32_t panels, parts;
} recurrent_shared;

static void multiply_part(void *argument, uint32_t part) {
    const recurrent_shared *s = (const recurrent_shared *)argument;
    const lstmc_node *node = s->r->node;
    const uint32_t panel = s->r->m->panel, full = s->p->padded / panel;
    const uint32_t start = lstmc_part_start(s->panels, s->parts, part);
    const uint32_t end = lstmc_part_start(s->panels, s->parts, part + 1);
    const uint32_t full_end = end < full ? end : full;
    if (start < full)
        multiply_panels(lstmc_kernels_for(node, 0), s->p, panel, panel, start, full_end);
    if (end > full) multiply_panels(lstmc_kernels_for(node, 1), s->p, panel, panel / 2, full, end);
}

void lstmc_multiply(const lstmc_frame *r, const lstmc_product *p) {
    const uint32_t panel = r->m->panel;
    recurrent_shared s = {r, p, p->padded / panel + (p->padded % panel != 0), 1};
    const float work = (float)p->rows * (float)p->k * (float)p->padded * (float)p->gates;
    if (r->split) s.parts = lstmc_parts(r->call, work, s.panels);
    lstmc_for_parts(r->call, s.parts, multiply_part, &s);
}

lstmc_product lstmc_hidden_product(const lstmc_frame *r, uint32_t b0, uint32_t b1) {
    const lstmc_recurrent *m = r->m;
    lstmc_product p;
    memset(&p, 0, sizeof p);
    p.w = m->hh;
    p.v = r->h[r->parity] + b0 * r->state_stride;
    p.v_stride = r->state_stride;
    p.init = p.y = r->pre;
    p.init_stride = p.y_stride = (size_t)m->gates * m->padded;
    p.rows = b1 - b0;
    p.k = m->out;
    p.padded = m->padded;
    p.gates = p.weight.of = p.from.of = p.to.of = m->gates;
    return p;
}

void lstmc_cells(const lstmc_frame *r, const lstmc_cell_args *args, uint32_t t, uint32_t b0,
                 uint32_t b1) {
    const lstmc_recurrent *m = r->m;
    lstmc_cell_args a = *args;
    a.clip = m->clip;
    for (uint32_t b = b0; b < b1; b++) {
        const size_t row = b - b0;
        float *buffer = r->buffer + row * m->padded;
        float *to = m->hr ? buffer : r->h[1 - r->parity] + b * r->state_stride;
        float *y = m->hr ? NULL : lstmc_output_at(r, t, b);
        for (uint32_t half = 0; half < 2; half++) {
            const size_t unit = half ? (size_t)m->full * m->panel : 0;
            a.panels = half ? (uint32_t)(m->padded % m->panel != 0) : m->full;
            if (!a.panels) continue;
            a.panel = half ? m->panel / 2 : m->panel;
            a.units = m->units - (uint32_t)unit;
            a.pre = r->pre + (row * m->padded + unit) * m->gates;
            a.peephole = m->peephole ? m->peephole + unit * 3 : NULL;
            a.buffer = buffer + unit;
            a.c = r->c + b * r->state_stride + unit;
            a.h = r->h[r->parity] + b * r->state_stride + unit;
            a.to = to + unit;
            a.y = y ? y + unit : NULL;
            m->cell->kernel(lstmc_kernels_for(r->node, half), &a);
        }
    }
}

/* bias + weight_ih x for all rows and the steps [t0, t0 + steps): [step][row][panel][gate][width].
 * The longer way round goes into one product. */
static void products_ahead(const lstmc_frame *r, uint32_t t0, uint32_t steps) {
    const lstmc_recurrent *m = r->m;
    const uint32_t batch = lstmc_batch(r->call), gates = m->gates;
    const int by_row = steps > batch;
    const size_t row = (size_t)gates * m->padded;
    lstmc_product p;
    memset(&p, 0, sizeof p);
    p.w = m->ih;
    p.k = m->input;
    p.padded = m->padded;
    p.init = r->bias;
    p.gates = p.weight.of = p.from.of = p.to.of = gates;
    p.rows = by_row ? steps : batch;
    p.v_stride = by_row ? r->x.time_stride : r->x.batch_stride;
    p.y_stride = by_row ? row * batch : row;
    for (uint32_t i = 0; i < (by_row ? batch : steps); i++) {
        p.v =
            r->x.data + t0 * r->x.time_stride + i * (by_row ? r->x.batch_stride : r->x.time_stride);
        p.y = r->ahead + i * (by_row ? row : row * batch);
        lstmc_multiply(r, &p);
    }
}

/* ---------------------------------------------------------------------------------------- run -- */

/* A row that stands still at a step: its state stays. Its output is zero, or, where only a mask holds
 * it, that of the step before. */
static void stand(const lstmc_frame *r, uint32_t i, uint32_t b, int masked) {
    const lstmc_recurrent *m = r->m;
    const size_t row = b * r->state_stride;
    const uint32_t t = lstmc_when(r, i);
    float *y = lstmc_output_at(r, t, b);
    memcpy(r->h[1 - r->parity] + row, r->h[r->parity] + row, m->out_padded * sizeof(float));
    if (!y) return;
    const float *held = NULL;
    if (masked && m->hold) {
        /* h is what the step before gave, except that an initial state is no output. */
        held = r->h[r->parity] + row;
        if (m->h0 != LSTMC_NONE || m->start_h) {
            held = i ? lstmc_output_at(r, lstmc_when(r, i - 1), b) : NULL;
        }
    }
    for (uint32_t k = 0; k < m->out; k++) y[k] = held ? held[k] : 0.0f;
}

/* The rows [b0, b1) at a step; slot is the step's place among the products ahead. */
static void step_rows(lstmc_frame *r, uint32_t t, uint32_t slot, uint32_t chunk, uint32_t b0,
                      uint32_t b1) {
    const lstmc_recurrent *m = r->m;
    const size_t row = (size_t)m->gates * m->padded;
    float *ahead = r->ahead + slot * row * lstmc_batch(r->call);
    if (m->fused) {
        lstmc_fused_step(r, t, chunk ? ahead : NULL, b0, b1);
    } else {
        r->pre = ahead + b0 * row;
        m->cell->step(r, t, b0, b1);
    }
}

/* One step of all rows: the runs of rows that are valid, and the others. */
static void step_all(lstmc_frame *r, uint32_t i, uint32_t slot, uint32_t chunk) {
    const lstmc_recurrent *m = r->m;
    const lstmc_call *call = r->call;
    const uint32_t t = lstmc_when(r, i);
    if (!lstmc_lengths(call) && m->mask == LSTMC_NONE) {
        step_rows(r, t, slot, chunk, 0, lstmc_batch(call));
        return;
    }
    for (uint32_t b = 0; b < lstmc_batch(call);) {
        const int why = lstmc_standing(call, m, t, b);
        if (why) {
            stand(r, i, b++, why == 1);
            continue;
        }
        uint32_t end = b + 1;
        while (end < lstmc_batch(call) && !lstmc_standing(call, m, t, end)) end++;
        step_rows(r, t, slot, chunk, b, end);
        b = end;
    }
}

static void recurrent_run_rows(lstmc_frame *r, uint32_t chunk) {
    const lstmc_recurrent *m = r->m;
    uint32_t first = 0; /* of the steps ahead, in time */
    for (uint32_t i = 0; i < r->time; i++, r->parity ^= 1) {
        if (chunk && i % chunk == 0) {
            const uint32_t n = r->time - i < chunk ? r->time - i : chunk;
            first = lstmc_first_of(r, i, n);
            if (m->fused) {
                lstmc_fused_ahead(r, first, n);
            } else {
                products_ahead(r, first, n);
            }
        }
        step_all(r, i, lstmc_when(r, i) - first, chunk);
    }
}

/* A state starts from a value. */
static void start_from(const lstmc_frame *r, uint32_t id, float *state, uint32_t features) {
    static const lstmc_fn linear = {LSTMC_FN_LINEAR, 0.0f, 0.0f};
    if (id == LSTMC_NONE) return;
    const lstmc_view v = r->call->views[id];
    for (uint32_t b = 0; b < lstmc_batch(r->call); b++) {
        LSTMC_KERNEL(r->node->full, map, &linear, 1, v.data + b * v.batch_stride,
                     state + b * r->state_stride, features);
    }
}

static void hand_on(const lstmc_frame *r, uint32_t id, const float *state, uint32_t features) {
    if (id == LSTMC_NONE) return;
    const lstmc_view v = r->call->views[id];
    for (uint32_t b = 0; b < lstmc_batch(r->call); b++) {
        memcpy(v.data + b * v.batch_stride, state + b * r->state_stride, features * sizeof(float));
    }
}

void lstmc_recurrent_run(lstmc_node *node, const lstmc_call *call) {
    const lstmc_recurrent *m = (const lstmc_recurrent *)node->prepared;
    lstmc_frame r;
#ifndef LSTMC_FROZEN
    if (m->fused && lstmc_fused_quick(node, call)) return;
#endif
    r.m = m;
    r.node = node;
    r.call = call;
    r.time = lstmc_steps(call, m->x);
    const size_t zeros = scratch_zeros(m);
    for (size_t i = 0; i < zeros; i++) call->scratch[i] = 0.0f;
    r.bias = m->bias ? m->bias : call->scratch;
    r.zeros = call->scratch;
    r.pre = r.ahead = r.part = r.buffer = call->scratch + zeros;
    r.part_floats = 0;
    /* Between short steps of one thread another falls asleep: then products ahead are not worth it. */
    const float work = (float)lstmc_batch(call) * lstmc_row_work(m, m->input + m->out);
    r.split = lstmc_parts(call, work, m->padded) > 1;
    if (!m->fused || lstmc_batch(call) > 1) {
        const uint32_t most = call_steps(call, m, r.time);
        r.buffer = r.ahead + scratch_ahead(m, lstmc_max_batch(call), most);
        r.part = r.buffer;
        if (!m->fused) r.part += (size_t)lstmc_max_batch(call) * m->cell->buffers * m->padded;
        r.part_floats = scratch_part(m, lstmc_max_batch(call));
    }
    r.h[0] = node->state;
    r.h[1] = node->state + m->room;
    r.c = node->state + 2 * (size_t)m->room;
    r.state_stride = node->state_stride;
    r.x = call->views[m->x];
    if (m->sequence != LSTMC_NONE) {
        r.y = call->views[m->sequence];
    } else {
        r.y.data = NULL;
        r.y.batch_stride = r.y.time_stride = 0;
    }
    r.parity = node->parity;
    start_from(&r, m->h0, r.h[r.parity], m->out);
    start_from(&r, m->c0, r.c, m->units);

    const uint32_t chunk = steps_ahead(m, lstmc_batch(call), r.time);
    if (m->fused && lstmc_batch(call) == 1 && !lstmc_lengths(call) && m->mask == LSTMC_NONE) {
        r.parity = lstmc_fused_single(&r, chunk);
    } else {
        recurrent_run_rows(&r, chunk);
    }
    /* Rows of the session that this call left out must find their state in the same buffer. */
    for (uint32_t i = 0; r.parity != node->parity && i < lstmc_idle(call); i++) {
        const size_t row = ((size_t)lstmc_batch(call) + i) * r.state_stride;
        memcpy(r.h[r.parity] + row, r.h[1 - r.parity] + row, m->out_padded * sizeof(float));
    }
    node->parity = r.parity;
    hand_on(&r, m->h, r.h[r.parity], m->out);
    hand_on(&r, m->c, r.c, m->units);
}

/* rows vectors of features floats, stride apart. */
static void start_at(const float *start, uint32_t features, float *state, size_t stride,
                     uint32_t rows) {
    for (uint32_t b = 0; start && b < rows; b++) {
        for (uint32_t k = 0; k < features; k++) {
            state[b * stride + k] = lstmc_flush(start[k]);
        }
    }
}

void lstmc_recurrent_reset(lstmc_node *node, uint32_t rows) {
    const lstmc_recurrent *m = (const lstmc_recurrent *)node->prepared;
    float *c = node->state + 2 * (size_t)m->room;
    start_at(m->start_h, m->out, node->state, node->state_stride, rows);
    start_at(m->start_c, m->units, c, node->state_stride, rows);
}

void lstmc_recurrent_state(const lstmc_node *node, uint32_t index, lstmc_state_view *view) {
    const lstmc_recurrent *m = (const lstmc_recurrent *)node->prepared;
    view->name = index ? "c" : "h";
    view->features = index ? m->units : m->out;
    view->data = node->state + (index ? 2 : node->parity) * (size_t)m->room;
    view->stride = node->state_stride;
}
