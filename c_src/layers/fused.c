/* LSTM and GRU without options, where speed counts: each panel's products and its cell in one kernel. */
#include "recurrent.h"

#include <string.h>

/* With more weights than this, what a step reads first would be gone from a small L1 in the next: every
 * other step goes backwards over the panels then, and finds the last ones still there. */
#define TURNING_FLOATS 6144.0f

static uint32_t panel_count(const lstmc_recurrent *m) {
    return m->full + (m->padded % m->panel != 0);
}

/* Where the last sum of a GRU starts from, from a unit on; an LSTM has none. */
static const float *more_of(const lstmc_frame *r, size_t unit) {
    if (r->m->gates == 4) return NULL;
    return (r->m->recurrent_bias ? r->m->recurrent_bias : r->zeros) + unit;
}

/* What a firmware has none of is not in its text (lstmc/export/sources.py). */
static inline void run_row(const lstmc_recurrent *m, const lstmc_kernels *kernels,
                           const lstmc_step_args *args) {
    (void)m;
    (void)kernels;
#if defined(LSTMC_NO_GRU)
    LSTMC_KERNEL(kernels, lstm_row, args);
#elif defined(LSTMC_NO_LSTM)
    LSTMC_KERNEL(kernels, gru_row, args);
#else
    if (m->gates == 4) {
        LSTMC_KERNEL(kernels, lstm_row, args);
    } else {
        LSTMC_KERNEL(kernels, gru_row, args);
    }
#endif
}

static inline void fused_run_rows(const lstmc_recurrent *m, const lstmc_kernels *kernels,
                                  const lstmc_step_args *args) {
#ifdef LSTMC_FROZEN /* one row */
    run_row(m, kernels, args);
#else
    if (m->gates == 4) {
        LSTMC_KERNEL(kernels, lstm_rows, args);
    } else {
        LSTMC_KERNEL(kernels, gru_rows, args);
    }
#endif
}

/* Panels in parts. */
typedef struct fused_shared {
    const lstmc_frame *r;
    uint32_t panels, parts;
    uint32_t t0, steps;          /* of the products ahead */
    const lstmc_step_args *args; /* of a step of several rows */
    const float *ahead;          /* its products, or NULL */
    uint32_t b0;                 /* and its first row */
    const struct group *groups;  /* of a step of one row */
    uint32_t group_count;
} fused_shared;

static void part_range(const fused_shared *s, uint32_t part, uint32_t *start, uint32_t *end) {
    *start = lstmc_part_start(s->panels, s->parts, part);
    *end = lstmc_part_start(s->panels, s->parts, part + 1);
}

/* bias + weight_ih x for all rows and the steps [t0, t0 + steps), panels [start, end). */
static void ahead_panels(const lstmc_frame *r, uint32_t t0, uint32_t steps, uint32_t start,
                         uint32_t end) {
    const lstmc_recurrent *m = r->m;
    const uint32_t batch = lstmc_batch(r->call), gates = m->gates;
    for (uint32_t i = start; i < end; i++) {
        const size_t unit = (size_t)i * m->panel;
        const uint32_t width = lstmc_width_of(m, i);
        lstmc_matmul_args a;
        memset(&a, 0, sizeof a);
        a.w = m->ih + unit * gates * m->input;
        a.init = r->bias + unit * gates;
        a.k = m->input;
        a.panel = a.columns = gates * width;
        a.raw = 1;
        a.rows = steps;
        a.x_stride = r->x.time_stride;
        a.y_stride = (size_t)gates * m->padded * batch;
        for (uint32_t b = 0; b < batch; b++) {
            a.x = r->x.data + b * r->x.batch_stride + t0 * r->x.time_stride;
            a.y = r->ahead + (unit * batch + (size_t)b * width) * gates;
            LSTMC_KERNEL(lstmc_kernels_of(r, i), matmul, &a);
        }
    }
}

static void ahead_part(void *argument, uint32_t part) {
    const fused_shared *s = (const fused_shared *)argument;
    uint32_t start, end;
    part_range(s, part, &start, &end);
    ahead_panels(s->r, s->t0, s->steps, start, end);
}

void lstmc_fused_ahead(const lstmc_frame *r, uint32_t t0, uint32_t steps) {
    const float rows = (float)steps * (float)lstmc_batch(r->call);
    fused_shared s = {.r = r, .panels = panel_count(r->m), .t0 = t0, .steps = steps};
    const float work = rows * lstmc_row_work(r->m, r->m->input);
    s.parts = r->split ? lstmc_parts(r->call, work, s.panels) : 1;
    lstmc_for_parts(r->call, s.parts, ahead_part, &s);
}

/* What is the same in all steps: of the panels of full width, or (half is 1) of the half one. */
static void fixed_args(const lstmc_recurrent *m, uint32_t half, lstmc_step_args *a) {
    const uint32_t gates = m->gates;
    const size_t unit = half ? (size_t)m->full * m->panel : 0;
    memset(a, 0, sizeof *a);
    a->segment[0].w = m->ih + unit * gates * m->input;
    a->segment[0].k = m->input;
    a->segment[1].w = m->hh + unit * gates * m->units;
    a->segment[1].k = m->units;
    a->init = m->bias ? m->bias + unit * gates : NULL;
    a->more = m->recurrent_bias ? m->recurrent_bias + unit : NULL;
    a->gate = m->fn[0];
    a->candidate = m->fn[1];
    a->output = m->fn[2];
    a->plain = m->plain;
    a->panel = half ? m->panel / 2 : m->panel;
    a->panels = half ? (uint32_t)(m->padded % m->panel != 0) : m->full;
    a->units = m->units - (uint32_t)unit;
}

/* The same, in every step: kept where there is memory for it. */
static void step_args(const lstmc_recurrent *m, uint32_t half, lstmc_step_args *a) {
#ifdef LSTMC_FROZEN
    fixed_args(m, half, a);
#else
    *a = m->args[half];
#endif
}

static uint32_t fused_turns(const lstmc_recurrent *m) {
#ifdef LSTMC_FROZEN
    (void)m;
    return 0; /* there is no such cache */
#else
    return m->turns;
#endif
}

#ifndef LSTMC_FROZEN
void lstmc_fused_prepare(lstmc_recurrent *m) {
    for (uint32_t i = 0; i < 2; i++) fixed_args(m, i, &m->args[i]);
    m->work = lstmc_row_work(m, m->input + m->units);
    m->turns = m->work > TURNING_FLOATS;
    m->quick = m->bias && (m->gates == 4 || m->recurrent_bias) && m->mask == LSTMC_NONE &&
               m->h0 == LSTMC_NONE && m->c0 == LSTMC_NONE;
}
#endif

/* Panel i. init is that of all panels, for `batch` rows; 0: a bias, the same for all. */
static void step_panel(const lstmc_frame *r, const lstmc_step_args *a, uint32_t i,
                       const float *init, uint32_t batch) {
    const lstmc_recurrent *m = r->m;
    const size_t unit = (size_t)i * m->panel, gates = m->gates;
    lstmc_step_args now = *a;
    now.panel = lstmc_width_of(m, i);
    now.panels = 1;
    now.units = m->units - (uint32_t)unit;
    now.segment[0].w = m->ih + unit * gates * m->input;
    now.segment[1].w = m->hh + unit * gates * m->units;
    now.init_stride = batch ? gates * now.panel : 0;
    now.init = init + (batch ? unit * gates * batch : unit * gates);
    now.more = more_of(r, unit);
    now.before += unit;
    now.c += unit;
    now.h += unit;
    if (now.y) now.y += unit;
    if (now.rows == 1) {
        run_row(m, lstmc_kernels_of(r, i), &now);
    } else {
        fused_run_rows(m, lstmc_kernels_of(r, i), &now);
    }
}

static void step_part(void *argument, uint32_t part) {
    const fused_shared *s = (const fused_shared *)argument;
    const lstmc_frame *r = s->r;
    lstmc_step_args a = *s->args;
    uint32_t start, end;
    part_range(s, part, &start, &end);
    a.part = r->part + part * r->part_floats;
    for (uint32_t n = start; n < end; n++) {
        const uint32_t i = r->parity ? end - 1 - (n - start) : n;
        const float *init = r->bias;
        if (s->ahead) init = s->ahead + (size_t)s->b0 * r->m->gates * lstmc_width_of(r->m, i);
        step_panel(r, &a, i, init, s->ahead ? lstmc_batch(r->call) : 0);
    }
}

/* `ahead` is where the step's products are, or NULL. */
void lstmc_fused_step(const lstmc_frame *r, uint32_t t, const float *ahead, uint32_t b0,
                      uint32_t b1) {
    const lstmc_recurrent *m = r->m;
    const uint32_t parity = r->parity;
    const uint32_t rows = b1 - b0;
    const size_t first = b0 * r->state_stride;
    lstmc_step_args a;
    step_args(m, 0, &a);
    if (ahead) a.segment[0].k = 0;
    a.segment[1].stride = a.state_stride = r->state_stride;
    a.segment[0].v = r->x.data + b0 * r->x.batch_stride + t * r->x.time_stride;
    a.segment[0].stride = r->x.batch_stride;
    a.segment[1].v = r->h[parity] + first;
    a.part = r->part;
    a.before = a.segment[1].v;
    a.c = r->c + first;
    a.h = r->h[1 - parity] + first;
    a.y = lstmc_output_at(r, t, b0);
    a.y_stride = r->y.batch_stride;
    a.rows = rows;
    a.backwards = parity;
    fused_shared s = {.r = r, .panels = panel_count(m), .args = &a, .ahead = ahead, .b0 = b0};
    const float work = (float)rows * lstmc_row_work(m, a.segment[0].k + m->units);
    s.parts = lstmc_parts(r->call, work, s.panels);
    lstmc_for_parts(r->call, s.parts, step_part, &s);
}

/* Panels of one width, the first and how many; where they take their part of all arrays. */
typedef struct group {
    lstmc_step_args args;
    const lstmc_kernels *kernels;
    size_t unit;
    uint32_t first;
} group;

static uint32_t set_groups(const lstmc_frame *r, group *groups) {
    const lstmc_recurrent *m = r->m;
    uint32_t count = 0;
    for (uint32_t i = 0; i < 2; i++) {
        group *p = &groups[count];
        step_args(m, i, &p->args);
        if (!p->args.panels) continue;
        count++;
        p->kernels = lstmc_kernels_for(r->node, i);
        p->first = i ? m->full : 0;
        p->unit = (size_t)p->first * m->panel;
        p->args.init = r->bias + p->unit * m->gates;
        p->args.more = more_of(r, p->unit);
        p->args.c = r->c + p->unit;
    }
    return count;
}

/* The panels of a step that belong to a part, a group's own in one call. */
static void single_part(void *argument, uint32_t part) {
    const fused_shared *s = (const fused_shared *)argument;
    const lstmc_recurrent *m = s->r->m;
    uint32_t start, end;
    part_range(s, part, &start, &end);
    for (uint32_t n = 0; n < s->group_count; n++) {
        const group *p = &s->groups[s->groups[0].args.backwards ? s->group_count - 1 - n : n];
        const uint32_t last = p->first + p->args.panels;
        const uint32_t from = start > p->first ? start : p->first, to = end < last ? end : last;
        if (from >= to) continue;
        lstmc_step_args a = p->args;
        const size_t unit = (size_t)(from - p->first) * m->panel;
        a.segment[0].w += unit * m->gates * m->input;
        a.segment[1].w += unit * m->gates * m->units;
        a.init += unit * m->gates;
        a.more = more_of(s->r, p->unit + unit);
        a.before += unit;
        a.c += unit;
        a.h += unit;
        if (a.y) a.y += unit;
        a.panels = to - from;
        a.units -= (uint32_t)unit;
        run_row(m, p->kernels, &a);
    }
}

/* Steps of a single row. Its products lie side by side, so that a call takes all panels of a width,
 * and little is left to do for a step: with a small net that is a good part of the time. */
uint32_t lstmc_fused_single(const lstmc_frame *r, uint32_t chunk) {
    const lstmc_recurrent *m = r->m;
    const size_t row = (size_t)m->gates * m->padded;
    const uint32_t most = chunk ? chunk : r->time;
    uint32_t parity = r->parity;
    group groups[2];
    fused_shared s = {.r = r, .panels = panel_count(m), .groups = groups};
    s.group_count = set_groups(r, groups);
    const float work = lstmc_row_work(m, (chunk ? 0 : m->input) + m->units);
    const uint32_t parts = s.parts = lstmc_parts(r->call, work, s.panels);
    for (uint32_t n = 0; chunk && n < s.group_count; n++) groups[n].args.segment[0].k = 0;
    for (uint32_t i = 0; i < r->time; i += most) {
        const uint32_t some = r->time - i < most ? r->time - i : most;
        const uint32_t first = lstmc_first_of(r, i, some);
        if (chunk) lstmc_fused_ahead(r, first, some);
        for (uint32_t j = i; j < i + some; j++, parity ^= 1) {
            const uint32_t t = lstmc_when(r, j), back = parity & fused_turns(m);
            for (uint32_t n = 0; n < s.group_count; n++) {
                group *p = &groups[back ? s.group_count - 1 - n : n];
                if (chunk) {
                    p->args.init = r->ahead + (t - first) * row + p->unit * m->gates;
                }
                p->args.segment[0].v = r->x.data + t * r->x.time_stride;
                p->args.segment[1].v = r->h[parity];
                p->args.before = r->h[parity] + p->unit;
                p->args.h = r->h[1 - parity] + p->unit;
                if (r->y.data) p->args.y = r->y.data + t * r->y.time_stride + p->unit;
                p->args.backwards = back;
                if (parts == 1) run_row(m, p->kernels, &p->args);
            }
            if (parts > 1) lstmc_for_parts(r->call, parts, single_part, &s);
        }
    }
    return parity;
}

#ifdef LSTMC_FROZEN
/* One step of the only row, with a bias and no other inputs than x. */
void lstmc_quick_run(lstmc_node *node, const lstmc_call *call) {
    const lstmc_recurrent *m = (const lstmc_recurrent *)node->prepared;
    const uint32_t parity = node->parity;
    float *h = node->state + (parity ? 0 : m->room), *c = node->state + 2 * (size_t)m->room;
    lstmc_step_args a;
    for (uint32_t half = 0; half < 2; half++) {
        const size_t unit = half ? (size_t)m->full * m->panel : 0;
        if (half ? m->padded == unit : !m->full) continue;
        fixed_args(m, half, &a);
        a.segment[0].v = call->views[m->x].data;
        a.segment[1].v = node->state + (parity ? m->room : 0);
        a.before = a.segment[1].v + unit;
        a.c = c + unit;
        a.h = h + unit;
        if (m->sequence != LSTMC_NONE) a.y = call->views[m->sequence].data + unit;
        run_row(m, NULL, &a);
    }
    node->parity = 1 - parity;
    if (m->h != LSTMC_NONE) memcpy(call->views[m->h].data, h, m->out * sizeof *h);
    if (m->c != LSTMC_NONE) memcpy(call->views[m->c].data, c, m->units * sizeof *c);
}
#else
static inline void quick_panels(const lstmc_recurrent *m, lstmc_step_args *a,
                                const lstmc_kernels *kernels, size_t unit, float *c, float *h,
                                float *y) {
    if (!a->panels) return;
    a->before = a->segment[1].v + unit;
    a->c = c + unit;
    a->h = h + unit;
    a->y = y ? y + unit : NULL;
    run_row(m, kernels, a);
}

/* One step of a session's only row, as most streams take it, and nothing besides: with a small net the
 * rest would take as long. 0, and nothing done, if the call or the layer asks for more. */
int lstmc_fused_quick(lstmc_node *node, const lstmc_call *call) {
    lstmc_recurrent *m = (lstmc_recurrent *)node->prepared;
    if (!m->quick || lstmc_max_batch(call) != 1 || lstmc_lengths(call) ||
        lstmc_steps(call, m->x) != 1 || (call->parallel && lstmc_parts(call, m->work, 2) != 1)) {
        return 0;
    }
    const uint32_t parity = node->parity, back = parity & m->turns;
    float *h = node->state + (parity ? 0 : m->room), *c = node->state + 2 * (size_t)m->room;
    float *y = m->sequence == LSTMC_NONE ? NULL : call->views[m->sequence].data;
    const size_t half = (size_t)m->full * m->panel;
    for (uint32_t i = 0; i < 2; i++) {
        m->args[i].segment[0].v = call->views[m->x].data;
        m->args[i].segment[1].v = node->state + (parity ? m->room : 0);
        m->args[i].backwards = back;
    }
    if (back) quick_panels(m, &m->args[1], node->half, half, c, h, y);
    quick_panels(m, &m->args[0], node->full, 0, c, h, y);
    if (!back) quick_panels(m, &m->args[1], node->half, half, c, h, y);
    node->parity = 1 - parity;
    if (m->h != LSTMC_NONE) memcpy(call->views[m->h].data, h, m->out * sizeof *h);
    if (m->c != LSTMC_NONE) memcpy(call->views[m->c].data, c, m->units * sizeof *c);
    return 1;
}
#endif
