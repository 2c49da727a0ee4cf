/* LSTM and GRU without options, where speed counts: forward that keeps its gates in one kernel with the
 * products, and the serial loop of backward. Same bits as the general way (train_recurrent.c). */
#include "train_recurrent.h"

#include <string.h>

/* Rows of a part at least: the height of a tile. */
#define FUSED_PART_ROWS 6u

/* A call on its way. */
typedef struct train_fused {
    const lstmc_train_node *node;
    const lstmc_call *call;
    const lstmc_train_recurrent *r;
    lstmc_frame frame; /* for products ahead */
    uint32_t steps, parts;
    float *h, *c, *gates; /* what is kept */
    size_t state_row, gates_row, gates_step;
    const lstmc_view *dy; /* backward */
    float *dh, *dc;
    size_t d_stride;
} train_fused;

static void fused_set(train_fused *f, const lstmc_train_node *node, const lstmc_call *call) {
    const lstmc_train_recurrent *r = (const lstmc_train_recurrent *)node->prepared;
    memset(f, 0, sizeof *f);
    f->node = node;
    f->call = call;
    f->r = r;
    f->steps = lstmc_steps(call, r->m.x);
    f->h = node->saved;
    f->c = node->saved + r->c_at;
    f->gates = node->saved + r->gates_at;
    f->state_row = ((size_t)f->steps + 1) * r->m.padded;
    f->gates_step = (size_t)4 * r->m.units;
    f->gates_row = f->steps * f->gates_step;
    const float work = (float)lstmc_batch(call) * (float)f->steps * (float)r->m.gates *
                       (float)r->m.units * (float)(r->m.input + r->m.units);
    f->parts = lstmc_even_parts(call, work, lstmc_batch(call) / FUSED_PART_ROWS);
}

int lstmc_train_is_fused(const lstmc_train_node *node, const lstmc_call *call) {
    const lstmc_train_recurrent *r = (const lstmc_train_recurrent *)node->prepared;
    return r->fused && r->plain && !r->again && r->m.mask == LSTMC_NONE && !lstmc_lengths(call) &&
           !node->mask;
}

size_t lstmc_train_fused_scratch(const lstmc_train_recurrent *r) {
    const size_t row = (size_t)r->m.gates * r->m.padded;
    const size_t ahead = lstmc_size_mul(row, r->time);
    const size_t part = lstmc_size_mul(r->batch, (size_t)4 * r->m.panel);
    return lstmc_size_add(row + r->m.padded, ahead > part ? ahead : part);
}

/* ------------------------------------------------------------------------------------- forward -- */

/* Arguments of panels of full width, or of the half one, for rows from b0 on at processing step i. */
static int fused_args(const train_fused *f, uint32_t half, uint32_t i, uint32_t b0,
                      lstmc_saving_args *s) {
    const lstmc_recurrent *m = &f->r->m;
    const size_t unit = half ? (size_t)m->full * m->panel : 0;
    lstmc_step_args *a = &s->step;
    if (half ? m->padded == unit : !m->full) return 0;
    const uint32_t t = lstmc_when(&f->frame, i), gates = m->gates;
    memset(s, 0, sizeof *s);
    a->segment[0].w = m->ih + unit * gates * m->input;
    a->segment[0].k = m->input;
    a->segment[0].v = f->frame.x.data + b0 * f->frame.x.batch_stride + t * f->frame.x.time_stride;
    a->segment[0].stride = f->frame.x.batch_stride;
    a->segment[1].w = m->hh + unit * gates * m->units;
    a->segment[1].k = m->units;
    a->segment[1].v = f->h + b0 * f->state_row + (size_t)i * m->padded;
    a->segment[1].stride = f->state_row;
    a->init = f->frame.bias + unit * gates;
    a->more = (m->recurrent_bias ? m->recurrent_bias : f->frame.zeros) + unit;
    a->before = a->segment[1].v + unit;
    a->c = f->c + b0 * f->state_row + (size_t)i * m->padded + unit;
    a->h = f->h + b0 * f->state_row + ((size_t)i + 1) * m->padded + unit;
    a->state_stride = f->state_row;
    if (f->frame.y.data) a->y = lstmc_output_at(&f->frame, t, b0) + unit;
    a->y_stride = f->frame.y.batch_stride;
    memcpy(&a->gate, &m->fn[0], sizeof a->gate);
    a->candidate = m->fn[1];
    a->output = m->fn[2];
    a->plain = m->plain;
    a->panel = half ? m->panel / 2 : m->panel;
    a->panels = half ? 1 : m->full;
    a->units = m->units - (uint32_t)unit;
    s->next_c = a->c + m->padded;
    s->gates = f->gates + b0 * f->gates_row + i * f->gates_step + unit;
    s->gates_stride = f->gates_row;
    s->gate = m->units;
    return 1;
}

static void fused_row(const train_fused *f, uint32_t half, const lstmc_saving_args *s) {
    if (f->r->m.gates == 4) {
        LSTMC_TRAIN_KERNEL(half ? f->node->half : f->node->full, lstm_row, &s->step);
    } else {
        LSTMC_TRAIN_KERNEL(half ? f->node->half : f->node->full, gru_row, &s->step);
    }
}

static void fused_rows(const train_fused *f, uint32_t half, const lstmc_saving_args *s) {
    if (f->r->m.gates == 4) {
        LSTMC_TRAIN_KERNEL(half ? f->node->half : f->node->full, lstm_rows, &s->step);
    } else {
        LSTMC_TRAIN_KERNEL(half ? f->node->half : f->node->full, gru_rows, &s->step);
    }
}

/* A step of several rows: panel by panel. */
static void fused_advance(const train_fused *f, uint32_t i, uint32_t b0, uint32_t rows) {
    const lstmc_recurrent *m = &f->r->m;
    float *part = f->frame.part + (size_t)b0 * 4 * m->panel;
    for (uint32_t half = 0; half < 2; half++) {
        lstmc_saving_args s;
        if (!fused_args(f, half, i, b0, &s)) continue;
        lstmc_step_args *a = &s.step;
        const uint32_t panels = a->panels;
        const size_t w = (size_t)a->panel * m->gates;
        a->part = part;
        a->rows = rows;
        a->panels = 1;
        for (uint32_t p = 0; p < panels; p++) {
            fused_rows(f, half, &s);
            a->segment[0].w += w * m->input;
            a->segment[1].w += w * m->units;
            a->init += w;
            a->more += a->panel;
            a->before += a->panel;
            a->c += a->panel;
            a->h += a->panel;
            if (a->y) a->y += a->panel;
            a->units -= a->units < a->panel ? a->units : a->panel;
            s.next_c += a->panel;
            s.gates += a->panel;
        }
    }
}

/* A single row: products of x ahead, then all panels of a width in one call. */
static void fused_single(const train_fused *f) {
    const lstmc_recurrent *m = &f->r->m;
    lstmc_fused_ahead(&f->frame, 0, f->steps);
    for (uint32_t i = 0; i < f->steps; i++) {
        const float *ahead =
            f->frame.ahead + (size_t)lstmc_when(&f->frame, i) * m->gates * m->padded;
        for (uint32_t half = 0; half < 2; half++) {
            lstmc_saving_args s;
            if (!fused_args(f, half, i, 0, &s)) continue;
            lstmc_step_args *a = &s.step;
            const size_t unit = half ? (size_t)m->full * m->panel : 0;
            a->segment[0].k = 0;
            a->init = ahead + unit * m->gates;
            fused_row(f, half, &s);
        }
    }
}

static void fused_forward_part(void *argument, uint32_t part) {
    const train_fused *f = (const train_fused *)argument;
    const uint32_t batch = lstmc_batch(f->call);
    const uint32_t b0 = lstmc_part_start(batch, f->parts, part);
    const uint32_t b1 = lstmc_part_start(batch, f->parts, part + 1);
    for (uint32_t i = 0; i < f->steps; i++) fused_advance(f, i, b0, b1 - b0);
}

/* A state that a call starts from: a value, or where the call before has left it. */
static void fused_start(const train_fused *f, uint32_t value, const float *state, float *to) {
    const lstmc_recurrent *m = &f->r->m;
    for (uint32_t b = 0; b < lstmc_batch(f->call); b++, to += f->state_row) {
        if (value == LSTMC_NONE) {
            memcpy(to, state + b * f->node->node->state_stride, m->padded * sizeof *to);
            continue;
        }
        LSTMC_KERNEL(f->node->node->full, map, &lstmc_linear, 1,
                     lstmc_at(&f->call->views[value], b, 0), to, m->units);
        lstmc_zeros(to + m->units, m->padded - m->units);
    }
}

/* The last states: where the next call finds them, and to a value. */
static void fused_end(const train_fused *f, uint32_t value, const float *last, float *state) {
    const lstmc_recurrent *m = &f->r->m;
    last += (size_t)f->steps * m->padded;
    for (uint32_t b = 0; b < lstmc_batch(f->call); b++, last += f->state_row) {
        memcpy(state + b * f->node->node->state_stride, last, m->padded * sizeof *last);
        if (value == LSTMC_NONE) continue;
        memcpy(lstmc_at(&f->call->views[value], b, 0), last, m->units * sizeof *last);
    }
}

void lstmc_train_fused_forward(const lstmc_train_node *node, const lstmc_call *call) {
    train_fused f;
    fused_set(&f, node, call);
    const lstmc_recurrent *m = &f.r->m;
    float *h = node->node->state + node->node->parity * (size_t)m->room;
    float *c = node->node->state + 2 * (size_t)m->room;
    fused_start(&f, m->h0, h, f.h);
    if (m->gates == 4) fused_start(&f, m->c0, c, f.c);
    const size_t row = (size_t)m->gates * m->padded;
    lstmc_zeros(call->scratch, row + m->padded);
    f.frame.m = m;
    f.frame.node = node->node;
    f.frame.call = call;
    f.frame.time = f.steps;
    f.frame.zeros = call->scratch + row;
    f.frame.bias = m->bias ? m->bias : call->scratch;
    f.frame.ahead = f.frame.part = call->scratch + row + m->padded;
    f.frame.x = call->views[m->x];
    if (m->sequence != LSTMC_NONE) f.frame.y = call->views[m->sequence];
    if (lstmc_batch(call) == 1) {
        fused_single(&f);
    } else {
        lstmc_for_parts(call, f.parts, fused_forward_part, &f);
    }
    fused_end(&f, m->h, f.h, h);
    if (m->gates == 4) fused_end(&f, m->c, f.c, c);
}

/* ------------------------------------------------------------------------------------ backward -- */

static void fused_back_part(void *argument, uint32_t part) {
    const train_fused *f = (const train_fused *)argument;
    const lstmc_train_recurrent *r = f->r;
    const lstmc_recurrent *m = &r->m;
    const uint32_t batch = lstmc_batch(f->call), lstm = m->gates == 4;
    const uint32_t b0 = lstmc_part_start(batch, f->parts, part);
    const uint32_t rows = lstmc_part_start(batch, f->parts, part + 1) - b0;
    lstmc_back_args a;
    memset(&a, 0, sizeof a);
    a.gates_stride = f->gates_row;
    a.saved_stride = f->state_row;
    a.dh = f->dh + b0 * f->d_stride;
    a.dc = f->dc + b0 * f->d_stride;
    a.state_stride = f->d_stride;
    a.rows = rows;
    a.units = m->units;
    a.gate = m->fn[0];
    a.candidate = m->fn[1];
    a.output = m->fn[2];
    a.plain = m->plain;
    lstmc_gemm_args g;
    memset(&g, 0, sizeof g);
    g.a_step = 1;
    g.a_block = (ptrdiff_t)m->units;
    g.a_next = (ptrdiff_t)f->gates_row;
    g.b_step = (ptrdiff_t)lstmc_plain_stride(m->units);
    g.b_block = g.b_step * (ptrdiff_t)m->units;
    g.c = a.dh;
    g.c_next = f->d_stride;
    g.c_panel = g.panel = 16;
    g.rows = rows;
    g.count = m->units;
    g.gates = g.wide = 1;
    g.units = m->units;
    const float *plain = f->node->packed + r->hh_at;
    for (uint32_t i = f->steps; i-- > 0;) {
        const uint32_t t = lstmc_when(&f->frame, i);
        const float *old = (lstm ? f->c : f->h) + b0 * f->state_row + (size_t)i * m->padded;
        a.gates = f->gates + b0 * f->gates_row + i * f->gates_step;
        a.c = old;
        a.new_c = old + m->padded;
        if (f->dy && f->dy->data) {
            a.dy = lstmc_at(f->dy, b0, t);
            a.dy_stride = f->dy->batch_stride;
        }
        g.a = a.gates;
        g.b = plain;
        if (lstm) {
            LSTMC_TRAIN_KERNEL(f->node->kernels, fused_lstm_back, &a);
            g.blocks = 4;
            g.zero = g.flush = 1;
            LSTMC_TRAIN_KERNEL(f->node->kernels, gemm, &g);
            continue;
        }
        LSTMC_TRAIN_KERNEL(f->node->kernels, fused_gru_back, &a);
        g.blocks = 2; /* r z, then q, which lies behind n */
        g.flush = 0;
        LSTMC_TRAIN_KERNEL(f->node->kernels, gemm, &g);
        g.a += 3 * (size_t)m->units;
        g.b += 2 * g.b_block;
        g.blocks = 1;
        g.flush = 1;
        LSTMC_TRAIN_KERNEL(f->node->kernels, gemm, &g);
    }
}

/* dh and dc: [batch], rows stride apart, in: the gradients of the last states, out: of the first ones. */
void lstmc_train_fused_loop(const lstmc_train_node *node, const lstmc_call *call,
                            const lstmc_view *dy, float *dh, float *dc, size_t stride) {
    train_fused f;
    fused_set(&f, node, call);
    f.frame.m = &f.r->m;
    f.frame.time = f.steps;
    f.dy = dy;
    f.dh = dh;
    f.dc = dc;
    f.d_stride = stride;
    lstmc_for_parts(call, f.parts, fused_back_part, &f);
}
