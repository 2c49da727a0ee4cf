/* LSTM, gates i f g o: c' = fma(f, c, i * g), h' = o * output(c'), both flushed.
 *
 * Tensors: weight_ih [4 units, input], weight_hh [4 units, units], bias [4 units] or none.
 * Params: gate, candidate and output functions. Outputs: sequence, last h, last c; each may be none.
 *
 * State: two buffers for h, the one read and the one written, which change places at every step,
 * and one for c; rows padded to whole panels. */
#include "layers.h"

#include <string.h>

/* Products of an input chunk are computed ahead in about this many floats (half of a small L2). */
#define AHEAD_FLOATS 65536u
/* With more rows than this a step alone fills the registers' tiles: nothing is gained ahead. */
#define AHEAD_ROWS 4u
/* With fewer inputs than this, storing and loading the sums costs more than the products. */
#define AHEAD_INPUTS 4u

typedef struct lstm {
    const float *ih, *hh, *bias; /* bias may be NULL */
    const uint32_t *params;
    uint32_t input, units, padded, panel;
    uint32_t full; /* panels of full width */
    uint32_t plain;
    uint32_t x, sequence, h, c; /* value ids */
} lstm;

static int check(const lstmc_layer *l) {
    lstmc_tensor ih, hh, bias;
    lstmc_fn fn;
    if (!lstmc_layer_counts(l, 1, 3, 3, 9)) return LSTMC_E_INVALID;
    for (uint32_t i = 0; i < 9; i += 3) {
        if (!lstmc_fn_get(l->params + i, &fn)) return LSTMC_E_UNSUPPORTED;
    }
    if (!lstmc_tensor_get(l, 0, &ih) || !lstmc_tensor_get(l, 1, &hh)) return LSTMC_E_INVALID;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    if (!x.has_time || !lstmc_tensor_is(&ih, 4, ih.units, x.features, ih.panel) ||
        !lstmc_tensor_is(&hh, 4, ih.units, ih.units, ih.panel) ||
        (lstmc_tensor_get(l, 2, &bias) && !lstmc_tensor_is(&bias, 4, ih.units, 1, ih.panel)) ||
        !lstmc_layer_output(l, 0, ih.units, 1) || !lstmc_layer_output(l, 1, ih.units, 0) ||
        !lstmc_layer_output(l, 2, ih.units, 0)) {
        return LSTMC_E_INVALID;
    }
    return LSTMC_OK;
}

static void prepare(const lstmc_layer *l, void *prepared) {
    lstm *m = (lstm *)prepared;
    lstmc_tensor ih, hh, bias;
    (void)lstmc_tensor_get(l, 0, &ih);
    (void)lstmc_tensor_get(l, 1, &hh);
    m->ih = ih.data;
    m->hh = hh.data;
    m->bias = lstmc_tensor_get(l, 2, &bias) ? bias.data : NULL;
    m->params = l->params;
    m->input = ih.k;
    m->units = ih.units;
    m->panel = ih.panel;
    m->padded = lstmc_padded(ih.units, ih.panel);
    m->full = m->padded / ih.panel;
    m->plain = l->params[0] == LSTMC_FN_SIGMOID && l->params[3] == LSTMC_FN_TANH &&
               l->params[6] == LSTMC_FN_TANH;
    m->x = l->inputs[0];
    m->sequence = l->outputs[0];
    m->h = l->outputs[1];
    m->c = l->outputs[2];
}

/* Steps whose input products are computed ahead for that many rows; 0: none. */
static uint32_t steps_ahead(const lstm *m, uint32_t batch, uint32_t time) {
    if (time < 2 || batch > AHEAD_ROWS || m->input < AHEAD_INPUTS) return 0;
    const size_t steps = AHEAD_FLOATS / ((size_t)4 * m->padded * batch);
    return steps < 2 ? 2 : steps < time ? (uint32_t)steps : time;
}

/* Scratch holds, one after another: the bias if there is none, products ahead, partial sums. */
static size_t scratch_bias(const lstm *m) { return m->bias ? 0 : (size_t)4 * m->padded; }

static size_t scratch_ahead(const lstm *m, uint32_t batch, uint32_t time) {
    size_t most = 0;
    for (uint32_t b = 1; b <= batch && b <= AHEAD_ROWS; b++) { /* fewer rows take more steps */
        const size_t need = (size_t)4 * m->padded * b * steps_ahead(m, b, time);
        if (need > most) most = need;
    }
    return most;
}

static void plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    lstm m;
    prepare(l, &m);
    need->state = lstmc_size_mul(batch, (size_t)3 * m.padded);
    need->scratch = scratch_bias(&m) + scratch_ahead(&m, batch, time);
    if (batch > 1) {
        need->scratch = lstmc_size_add(need->scratch, lstmc_size_mul(batch, (size_t)4 * m.panel));
    }
}

typedef struct run_state {
    const lstm *m;
    const lstmc_node *node;
    const lstmc_call *call;
    const float *bias;
    float *ahead; /* [step][panel][row][4][width] */
    float *part;
    float *h[2];
    float *c;
    lstmc_view x, y; /* y.data is NULL if no sequence is wanted */
} run_state;

static uint32_t width_of(const lstm *m, uint32_t panel) {
    return panel < m->full ? m->panel : m->panel / 2;
}

static const lstmc_kernels *kernels_of(const run_state *r, uint32_t panel) {
    return panel < r->m->full ? r->node->full : r->node->half;
}

/* bias + weight_ih x for all rows and the steps [t0, t0 + steps). */
static void products_ahead(const run_state *r, uint32_t t0, uint32_t steps) {
    const lstm *m = r->m;
    const uint32_t batch = r->call->batch;
    for (uint32_t i = 0; i * m->panel < m->padded; i++) {
        const size_t unit = (size_t)i * m->panel;
        const uint32_t width = width_of(m, i);
        lstmc_matmul_args a;
        memset(&a, 0, sizeof a);
        a.w = m->ih + unit * 4 * m->input;
        a.init = r->bias + unit * 4;
        a.k = m->input;
        a.panel = a.columns = 4 * width;
        a.raw = 1;
        a.rows = steps;
        a.x_stride = r->x.time_stride;
        a.y_stride = (size_t)4 * m->padded * batch;
        for (uint32_t b = 0; b < batch; b++) {
            a.x = r->x.data + b * r->x.batch_stride + t0 * r->x.time_stride;
            a.y = r->ahead + unit * 4 * batch + (size_t)b * 4 * width;
            kernels_of(r, i)->matmul(&a);
        }
    }
}

/* What is the same in all steps. */
static void step_args(const run_state *r, lstmc_lstm_args *a) {
    const lstm *m = r->m;
    a->segment[0].k = m->input;
    a->segment[0].stride = r->x.batch_stride;
    a->segment[1].k = m->units;
    a->segment[1].stride = m->padded;
    a->part = r->part;
    a->state_stride = m->padded;
    a->y_stride = r->y.batch_stride;
    (void)lstmc_fn_get(m->params, &a->gate);
    (void)lstmc_fn_get(m->params + 3, &a->candidate);
    (void)lstmc_fn_get(m->params + 6, &a->output);
    a->plain = m->plain;
}

/* Panel i. init is that of all panels, for `batch` rows; 0: a bias, the same for all. */
static void step_panel(const run_state *r, const lstmc_lstm_args *a, uint32_t i, const float *init,
                       uint32_t batch) {
    const lstm *m = r->m;
    const size_t unit = (size_t)i * m->panel;
    lstmc_lstm_args now = *a;
    now.panel = width_of(m, i);
    now.panels = 1;
    now.units = m->units - (uint32_t)unit;
    now.segment[0].w = m->ih + unit * 4 * m->input;
    now.segment[1].w = m->hh + unit * 4 * m->units;
    now.init_stride = batch ? (size_t)4 * now.panel : 0;
    now.init = init + (batch ? unit * 4 * batch : unit * 4);
    now.c += unit;
    now.h += unit;
    if (now.y) now.y += unit;
    if (now.rows == 1) {
        kernels_of(r, i)->lstm_row(&now);
    } else {
        kernels_of(r, i)->lstm_rows(&now);
    }
}

/* One step of the rows [b0, b1). `ahead` is where the step's products are, or NULL. */
static void step(const run_state *r, uint32_t parity, uint32_t t, const float *ahead, uint32_t b0,
                 uint32_t b1) {
    const lstm *m = r->m;
    const uint32_t batch = r->call->batch, rows = b1 - b0;
    const size_t first = (size_t)b0 * m->padded;
    lstmc_lstm_args a;
    step_args(r, &a);
    a.segment[0].k = ahead ? 0 : m->input;
    a.segment[0].v = r->x.data + b0 * r->x.batch_stride + t * r->x.time_stride;
    a.segment[1].v = r->h[parity] + first;
    a.c = r->c + first;
    a.h = r->h[1 - parity] + first;
    a.y = r->y.data ? r->y.data + b0 * r->y.batch_stride + t * r->y.time_stride : NULL;
    a.rows = rows;
    a.backwards = parity;
    const uint32_t panels = m->full + (m->padded % m->panel != 0);
    for (uint32_t n = 0; n < panels; n++) {
        const uint32_t i = parity ? panels - 1 - n : n;
        const float *init = ahead ? ahead + (size_t)b0 * 4 * width_of(m, i) : r->bias;
        step_panel(r, &a, i, init, ahead ? batch : 0);
    }
}

/* Panels of one width, and where they take their part of all arrays. */
typedef struct group {
    lstmc_lstm_args args;
    void (*lstm_row)(const lstmc_lstm_args *args);
    size_t unit;
} group;

static void set_group(const run_state *r, group *p, uint32_t i, uint32_t count) {
    const lstm *m = r->m;
    p->unit = (size_t)i * m->panel;
    p->lstm_row = kernels_of(r, i)->lstm_row;
    step_args(r, &p->args);
    p->args.segment[0].w = m->ih + p->unit * 4 * m->input;
    p->args.segment[1].w = m->hh + p->unit * 4 * m->units;
    p->args.init = r->bias + p->unit * 4;
    p->args.c = r->c + p->unit;
    p->args.panel = width_of(m, i);
    p->args.panels = count;
    p->args.units = m->units - (uint32_t)p->unit;
    p->args.y = NULL;
}

/* Steps of a single row. Its products lie side by side, so that a call takes all panels of a width,
 * and little is left to do for a step: with a small net that is a good part of the time. */
static uint32_t run_single(const run_state *r, uint32_t parity, uint32_t chunk) {
    const lstm *m = r->m;
    const lstmc_call *call = r->call;
    const uint32_t half = m->padded % m->panel != 0;
    group groups[2];
    if (m->full) set_group(r, &groups[0], 0, m->full);
    if (half) set_group(r, &groups[1], m->full, 1);
    const uint32_t from = m->full ? 0 : 1, to = half ? 1 : 0;
    for (uint32_t t = 0, i = 0; t < call->time; t++, i++, parity ^= 1) {
        if (chunk && i % chunk == 0) {
            i = 0;
            products_ahead(r, t, call->time - t < chunk ? call->time - t : chunk);
        }
        /* Every other step goes backwards over the panels: what was read last is in the cache. */
        for (uint32_t n = from; n <= to; n++) {
            group *p = &groups[parity ? from + to - n : n];
            if (chunk) {
                p->args.segment[0].k = 0;
                p->args.init = r->ahead + (size_t)i * 4 * m->padded + p->unit * 4;
            }
            p->args.segment[0].v = r->x.data + t * r->x.time_stride;
            p->args.segment[1].v = r->h[parity];
            p->args.h = r->h[1 - parity] + p->unit;
            if (r->y.data) p->args.y = r->y.data + t * r->y.time_stride + p->unit;
            p->args.backwards = parity;
            p->lstm_row(&p->args);
        }
    }
    return parity;
}

/* A row beyond its length: its state stands still, its sequence is zero. */
static void stand(const run_state *r, uint32_t parity, uint32_t t, uint32_t b) {
    const size_t row = (size_t)b * r->m->padded;
    memcpy(r->h[1 - parity] + row, r->h[parity] + row, r->m->padded * sizeof(float));
    if (!r->y.data) return;
    float *y = r->y.data + b * r->y.batch_stride + t * r->y.time_stride;
    for (uint32_t i = 0; i < r->m->units; i++) y[i] = 0.0f;
}

/* One step of all rows: the runs of rows that are still valid, and the others. */
static void step_all(const run_state *r, uint32_t parity, uint32_t t, const float *ahead) {
    const lstmc_call *call = r->call;
    if (!call->lengths) {
        step(r, parity, t, ahead, 0, call->batch);
        return;
    }
    for (uint32_t b = 0; b < call->batch;) {
        if (lstmc_row_length(call, b) <= t) {
            stand(r, parity, t, b++);
            continue;
        }
        uint32_t end = b + 1;
        while (end < call->batch && lstmc_row_length(call, end) > t) end++;
        step(r, parity, t, ahead, b, end);
        b = end;
    }
}

/* All steps of several rows, or of rows with lengths. */
static uint32_t run_rows(const run_state *r, uint32_t parity, uint32_t chunk) {
    const lstmc_call *call = r->call;
    for (uint32_t t = 0, i = 0; t < call->time; t++, i++, parity ^= 1) {
        if (chunk && i % chunk == 0) {
            i = 0;
            products_ahead(r, t, call->time - t < chunk ? call->time - t : chunk);
        }
        const float *ahead = r->ahead + (size_t)i * 4 * r->m->padded * call->batch;
        step_all(r, parity, t, chunk ? ahead : NULL);
    }
    return parity;
}

static void hand_on(const run_state *r, uint32_t id, const float *state) {
    if (id == LSTMC_NONE) return;
    const lstmc_view v = r->call->views[id];
    for (uint32_t b = 0; b < r->call->batch; b++) {
        memcpy(v.data + b * v.batch_stride, state + (size_t)b * r->m->padded,
               r->m->units * sizeof(float));
    }
}

static void run(lstmc_node *node, const lstmc_call *call) {
    const lstm *m = (const lstm *)node->prepared;
    const size_t rows = (size_t)call->max_batch * m->padded;
    run_state r;
    r.m = m;
    r.node = node;
    r.call = call;
    r.bias = m->bias;
    if (!r.bias) {
        for (size_t i = 0; i < scratch_bias(m); i++) call->scratch[i] = 0.0f;
        r.bias = call->scratch;
    }
    r.ahead = call->scratch + scratch_bias(m);
    r.part = r.ahead;
    if (call->batch > 1) r.part += scratch_ahead(m, call->max_batch, call->max_time);
    r.h[0] = node->state;
    r.h[1] = node->state + rows;
    r.c = node->state + 2 * rows;
    r.x = call->views[m->x];
    if (m->sequence != LSTMC_NONE) {
        r.y = call->views[m->sequence];
    } else {
        r.y.data = NULL;
        r.y.batch_stride = r.y.time_stride = 0;
    }

    uint32_t parity = node->parity;
    const uint32_t chunk = steps_ahead(m, call->batch, call->time);
    if (call->batch == 1 && !call->lengths) {
        parity = run_single(&r, parity, chunk);
    } else {
        parity = run_rows(&r, parity, chunk);
    }
    /* Rows of the session that this call left out must find their state in the same buffer. */
    if (parity != node->parity && call->batch < call->max_batch) {
        const size_t done = (size_t)call->batch * m->padded;
        memcpy(r.h[parity] + done, r.h[1 - parity] + done, (rows - done) * sizeof(float));
    }
    node->parity = parity;
    hand_on(&r, m->h, r.h[parity]);
    hand_on(&r, m->c, r.c);
}

static void state(const lstmc_node *node, uint32_t index, uint32_t max_batch,
                  lstmc_state_view *view) {
    const lstm *m = (const lstm *)node->prepared;
    const size_t rows = (size_t)max_batch * m->padded;
    view->name = index ? "c" : "h";
    view->features = m->units;
    view->data = node->state + (index ? 2 : node->parity) * rows;
    view->stride = m->padded;
}

const lstmc_layer_ops lstmc_layer_lstm = {1, sizeof(lstm), check, prepare, plan, run, 2, state};
