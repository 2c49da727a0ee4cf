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
#define HOIST_FLOATS 65536u
/* With more rows than this a step alone fills the registers' tiles: nothing is gained ahead. */
#define HOIST_ROWS 4u

typedef struct lstm {
    lstmc_tensor ih, hh, bias;
    int has_bias;
    uint32_t input, units, padded;
    lstmc_fn gate, candidate, output;
} lstm;

static int decode(const lstmc_layer *l, lstm *m) {
    if (!lstmc_layer_counts(l, 1, 3, 3, 9)) return LSTMC_E_INVALID;
    if (!lstmc_fn_get(l->params, &m->gate) || !lstmc_fn_get(l->params + 3, &m->candidate) ||
        !lstmc_fn_get(l->params + 6, &m->output)) {
        return LSTMC_E_UNSUPPORTED;
    }
    if (!lstmc_tensor_get(l, 0, &m->ih) || !lstmc_tensor_get(l, 1, &m->hh)) return LSTMC_E_INVALID;
    m->has_bias = lstmc_tensor_get(l, 2, &m->bias);
    m->input = m->ih.k;
    m->units = m->ih.units;
    m->padded = lstmc_padded(m->units, m->ih.panel ? m->ih.panel : 1);
    return LSTMC_OK;
}

static int check(const lstmc_layer *l) {
    lstm m;
    const int status = decode(l, &m);
    if (status) return status;
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    const uint32_t panel = m.ih.panel;
    if (!x.has_time || !lstmc_tensor_is(&m.ih, 4, m.units, x.features, panel) ||
        !lstmc_tensor_is(&m.hh, 4, m.units, m.units, panel) ||
        (m.has_bias && !lstmc_tensor_is(&m.bias, 4, m.units, 1, panel)) ||
        !lstmc_layer_output(l, 0, m.units, 1) || !lstmc_layer_output(l, 1, m.units, 0) ||
        !lstmc_layer_output(l, 2, m.units, 0)) {
        return LSTMC_E_INVALID;
    }
    return LSTMC_OK;
}

/* Steps whose input products are computed ahead for that many rows; 0: none. */
static uint32_t hoisted_steps(uint32_t batch, uint32_t time, uint32_t padded) {
    if (time < 2 || batch > HOIST_ROWS) return 0;
    const size_t row = (size_t)4 * padded * batch;
    const size_t steps = HOIST_FLOATS / row;
    return steps < 2 ? 2 : steps < time ? (uint32_t)steps : time;
}

/* Scratch holds, one after another: the bias if there is none, products ahead, partial sums. */
static size_t scratch_bias(const lstm *m) { return m->has_bias ? 0 : (size_t)4 * m->padded; }

static size_t scratch_ahead(const lstm *m, uint32_t batch, uint32_t time) {
    size_t most = 0;
    for (uint32_t b = 1; b <= batch && b <= HOIST_ROWS; b++) { /* fewer rows hoist more steps */
        const size_t need = (size_t)4 * m->padded * b * hoisted_steps(b, time, m->padded);
        if (need > most) most = need;
    }
    return most;
}

static void plan(const lstmc_layer *l, uint32_t batch, uint32_t time, lstmc_need *need) {
    lstm m;
    (void)decode(l, &m);
    need->state = lstmc_size_mul(batch, (size_t)3 * m.padded);
    need->scratch = scratch_bias(&m) + scratch_ahead(&m, batch, time);
    if (batch > 1) {
        need->scratch = lstmc_size_add(need->scratch, lstmc_size_mul(batch, (size_t)4 * m.ih.panel));
    }
}

typedef struct run_state {
    lstm m;
    lstmc_node *node;
    const lstmc_call *call;
    const float *bias;
    float *ahead;    /* [step][panel][row][4][width] */
    uint32_t hoisted; /* steps in it; 0: none */
    float *h[2];
    float *c;
    float *part;
    lstmc_view x, y; /* y.data is NULL if no sequence is wanted */
} run_state;

/* A panel's place: `unit` is its first unit. */
typedef struct place {
    size_t unit;
    uint32_t width;
    const lstmc_kernels *kernels;
} place;

static place panel_at(const run_state *r, uint32_t index) {
    const uint32_t panel = r->m.ih.panel;
    place p;
    p.unit = (size_t)index * panel;
    p.width = lstmc_panel_width(r->m.units, panel, index);
    p.kernels = p.width == panel ? r->node->full : r->node->half;
    return p;
}

/* bias + weight_ih x for all rows and the steps [t0, t0 + steps). */
static void products_ahead(const run_state *r, uint32_t t0, uint32_t steps) {
    const uint32_t batch = r->call->batch;
    const size_t step = (size_t)4 * r->m.padded * batch;
    for (uint32_t i = 0; i < lstmc_panel_count(r->m.units, r->m.ih.panel); i++) {
        const place p = panel_at(r, i);
        lstmc_matmul_args a;
        memset(&a, 0, sizeof a);
        a.w = r->m.ih.data + p.unit * 4 * r->m.input;
        a.init = r->bias + p.unit * 4;
        a.k = r->m.input;
        a.panel = a.columns = 4 * p.width;
        a.raw = 1;
        a.rows = steps;
        a.x_stride = r->x.time_stride;
        a.y_stride = step;
        for (uint32_t b = 0; b < batch; b++) {
            a.x = r->x.data + b * r->x.batch_stride + t0 * r->x.time_stride;
            a.y = r->ahead + p.unit * 4 * batch + (size_t)b * 4 * p.width;
            p.kernels->matmul(&a);
        }
    }
}

/* One step of the rows [b0, b1). `ahead` is where the step's products are, or NULL. */
static void step(const run_state *r, uint32_t parity, uint32_t t, const float *ahead, uint32_t b0,
                 uint32_t b1) {
    const lstm *m = &r->m;
    const uint32_t batch = r->call->batch, panels = lstmc_panel_count(m->units, m->ih.panel);
    const size_t first = (size_t)b0 * m->padded;
    lstmc_lstm_args a;
    a.segment[0].k = ahead ? 0 : m->input;
    a.segment[0].v = r->x.data + b0 * r->x.batch_stride + t * r->x.time_stride;
    a.segment[0].stride = r->x.batch_stride;
    a.segment[1].k = m->units;
    a.segment[1].v = r->h[parity] + first;
    a.segment[1].stride = m->padded;
    a.part = r->part;
    a.state_stride = m->padded;
    a.y_stride = r->y.batch_stride;
    a.gate = m->gate;
    a.candidate = m->candidate;
    a.output = m->output;
    a.plain = m->gate.kind == LSTMC_FN_SIGMOID && m->candidate.kind == LSTMC_FN_TANH &&
              m->output.kind == LSTMC_FN_TANH;
    a.rows = b1 - b0;
    for (uint32_t i = 0; i < panels;) {
        const place p = panel_at(r, i);
        /* A single row takes all panels of a width at once, if their products are side by side. */
        const int together = a.rows == 1 && p.width == m->ih.panel && (!ahead || batch == 1);
        const uint32_t full = m->units / m->ih.panel + (m->padded % m->ih.panel == 0 &&
                                                        m->units % m->ih.panel != 0);
        a.panels = together ? full : 1;
        a.panel = p.width;
        a.units = m->units - (uint32_t)p.unit;
        a.segment[0].w = m->ih.data + p.unit * 4 * m->input;
        a.segment[1].w = m->hh.data + p.unit * 4 * m->units;
        a.init = ahead ? ahead + p.unit * 4 * batch + (size_t)b0 * 4 * p.width
                       : r->bias + p.unit * 4;
        a.init_stride = ahead ? (size_t)4 * p.width : 0;
        a.c = r->c + first + p.unit;
        a.h = r->h[1 - parity] + first + p.unit;
        a.y = r->y.data ? r->y.data + b0 * r->y.batch_stride + t * r->y.time_stride + p.unit : NULL;
        if (a.rows == 1) {
            p.kernels->lstm_row(&a);
        } else {
            p.kernels->lstm_rows(&a);
        }
        i += a.panels;
    }
}

/* A row beyond its length: its state stands still, its sequence is zero. */
static void stand(const run_state *r, uint32_t parity, uint32_t t, uint32_t b) {
    const size_t row = (size_t)b * r->m.padded;
    memcpy(r->h[1 - parity] + row, r->h[parity] + row, r->m.padded * sizeof(float));
    if (!r->y.data) return;
    float *y = r->y.data + b * r->y.batch_stride + t * r->y.time_stride;
    for (uint32_t i = 0; i < r->m.units; i++) y[i] = 0.0f;
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

static void hand_on(const run_state *r, uint32_t output, const float *state) {
    const uint32_t id = r->node->layer.outputs[output];
    if (id == LSTMC_NONE) return;
    const lstmc_view v = r->call->views[id];
    for (uint32_t b = 0; b < r->call->batch; b++) {
        memcpy(v.data + b * v.batch_stride, state + (size_t)b * r->m.padded,
               r->m.units * sizeof(float));
    }
}

static void run(lstmc_node *node, const lstmc_call *call) {
    run_state r;
    memset(&r, 0, sizeof r);
    r.node = node;
    r.call = call;
    (void)decode(&node->layer, &r.m);
    float *scratch = call->scratch;
    r.bias = r.m.bias.data;
    if (!r.m.has_bias) {
        for (size_t i = 0; i < scratch_bias(&r.m); i++) scratch[i] = 0.0f;
        r.bias = scratch;
        scratch += scratch_bias(&r.m);
    }
    r.ahead = scratch;
    r.hoisted = hoisted_steps(call->batch, call->time, r.m.padded);
    r.part = scratch + scratch_ahead(&r.m, call->max_batch, call->max_time);
    const size_t rows = (size_t)call->max_batch * r.m.padded;
    r.h[0] = node->state;
    r.h[1] = node->state + rows;
    r.c = node->state + 2 * rows;
    r.x = call->views[node->layer.inputs[0]];
    if (node->layer.outputs[0] != LSTMC_NONE) r.y = call->views[node->layer.outputs[0]];

    uint32_t parity = node->parity;
    for (uint32_t t0 = 0; t0 < call->time;) {
        const uint32_t left = call->time - t0;
        const uint32_t steps = r.hoisted == 0 ? left : r.hoisted < left ? r.hoisted : left;
        if (r.hoisted) products_ahead(&r, t0, steps);
        for (uint32_t i = 0; i < steps; i++, parity ^= 1) {
            const float *ahead = r.ahead + (size_t)i * 4 * r.m.padded * call->batch;
            step_all(&r, parity, t0 + i, r.hoisted ? ahead : NULL);
        }
        t0 += steps;
    }
    /* Rows of the session that this call left out must find their state in the same buffer. */
    if (parity != node->parity) {
        const size_t done = (size_t)call->batch * r.m.padded;
        memcpy(r.h[parity] + done, r.h[1 - parity] + done, (rows - done) * sizeof(float));
    }
    node->parity = parity;
    hand_on(&r, 1, r.h[parity]);
    hand_on(&r, 2, r.c);
}

static void state(const lstmc_node *node, uint32_t index, uint32_t max_batch,
                  lstmc_state_view *view) {
    lstm m;
    (void)decode(&node->layer, &m);
    const size_t rows = (size_t)max_batch * m.padded;
    view->name = index ? "c" : "h";
    view->features = m.units;
    view->data = node->state + (index ? 2 : node->parity) * rows;
    view->stride = m.padded;
}

const lstmc_layer_ops lstmc_layer_lstm = {1, check, plan, run, 2, state};
