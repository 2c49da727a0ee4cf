/* The recurrent cells in training, with all their options: what forward keeps, and one step of backward.
 * Included by train_algorithms.h.
 *
 * The formulas are in docs/RECURRENT.md. What ends in a product is added to or taken from by fma, where
 * there is nothing to contract. */

/* The unit at the start of a vector, as far as there are real ones; those from there on. */
#define CELL_VECTORS                                                                               \
    const size_t panel = a->panel, most = panel * a->panels;                                       \
    const size_t end = a->units < most ? a->units : most;                                          \
    for (size_t unit = 0, left = end; unit < end; unit += V_WIDTH, left = end - unit)

#define CELL_PRE(G) (a->pre + unit / panel * panel * (G) + unit % panel)
#define CELL_GATE(g) (a->gates + a->stride * (g) + unit)

/* -------------------------------------------------------------------------------------- keep -- */

/* Which of the functions a gate takes. */
V_APART v_f32 cell_kept(const lstmc_cell_train_args *a, uint32_t gate, uint32_t fn, v_f32 p) {
    return a->outputs >> gate & 1 ? v_fn(&a->fn[fn], p) : p;
}

V_INLINE v_f32 cell_term(const float *peephole, size_t gate, size_t panel, v_f32 c, v_f32 p) {
    return peephole ? v_fma(v_load(peephole + gate * panel), c, p) : p;
}

V_INLINE const float *cell_peephole(const lstmc_cell_train_args *a, size_t unit, size_t panel) {
    return a->peephole ? a->peephole + unit / panel * panel * 3 + unit % panel : NULL;
}

static void train_lstm_keep(const lstmc_cell_train_args *a) {
    CELL_VECTORS {
        const float *pre = CELL_PRE(4), *peephole = cell_peephole(a, unit, panel);
        const v_f32 old = v_load(a->old + unit);
        const v_f32 seen = a->sees_old ? old : v_load(a->c + unit);
        const v_f32 i = cell_term(peephole, 0, panel, old, v_load(pre));
        const v_f32 f = cell_term(peephole, 1, panel, old, v_load(pre + panel));
        const v_f32 o = cell_term(peephole, 2, panel, seen, v_load(pre + 3 * panel));
        row_store(CELL_GATE(0), cell_kept(a, 0, 0, i), left);
        row_store(CELL_GATE(1), cell_kept(a, 1, 0, f), left);
        row_store(CELL_GATE(2), cell_kept(a, 2, 1, v_load(pre + 2 * panel)), left);
        row_store(CELL_GATE(3), cell_kept(a, 3, 0, o), left);
    }
}

static void train_gru_keep(const lstmc_cell_train_args *a) {
    CELL_VECTORS {
        const float *pre = CELL_PRE(3);
        const v_f32 p = v_load(pre), more = v_load(a->more + unit);
        v_f32 n = v_load(pre + 2 * panel);
        if (a->reset_after) {
            v_f32 r = p;
            if (a->clip != 0.0f) r = v_max(v_set1(-a->clip), v_min(v_set1(a->clip), r));
            n = v_fma(v_fn(&a->fn[0], r), more, n);
        }
        row_store(CELL_GATE(0), cell_kept(a, 0, 0, p), left);
        row_store(CELL_GATE(1), cell_kept(a, 1, 0, v_load(pre + panel)), left);
        row_store(CELL_GATE(2), cell_kept(a, 2, 1, n), left);
        row_store(CELL_GATE(3), more, left);
    }
}

static void train_rnn_keep(const lstmc_cell_train_args *a) {
    CELL_VECTORS { row_store(CELL_GATE(0), cell_kept(a, 0, 0, v_load(CELL_PRE(1))), left); }
}

/* ---------------------------------------------------------------------------------- backward -- */

/* A kept gate's output. */
V_APART v_f32 cell_value(const lstmc_cell_train_args *a, uint32_t gate, uint32_t fn, v_f32 kept) {
    if (a->outputs >> gate & 1) return kept;
    if (a->clip != 0.0f) kept = v_max(v_set1(-a->clip), v_min(v_set1(a->clip), kept));
    return v_fn(&a->fn[fn], kept);
}

/* The gradient of a gate's pre-activation from that of its output y: nothing passes a bound. */
V_APART v_f32 cell_back(const lstmc_cell_train_args *a, uint32_t gate, uint32_t fn, v_f32 kept,
                        v_f32 y, v_f32 dy) {
    if (a->outputs >> gate & 1) return v_flush(v_mul(dy, quick_slope(&a->fn[fn], y)));
    if (a->clip == 0.0f) return v_flush(v_mul(dy, train_slope(&a->fn[fn], kept, y)));
    const v_f32 bound = v_set1(a->clip), p = v_max(v_neg(bound), v_min(bound, kept));
    const v_f32 d = v_flush(v_mul(dy, train_slope(&a->fn[fn], p, y)));
    return v_if_lt(bound, v_abs(kept), v_set1(0.0f), d);
}

/* i f g o. The first part is that of o and of the new c, the second that of the others and the old c. */
static void train_lstm_back(const lstmc_cell_train_args *a) {
    const v_f32 one = v_set1(1.0f);
    CELL_VECTORS {
        const float *peephole = cell_peephole(a, unit, panel);
        v_f32 dc = row_load(a->dc + unit, left), d_o;
        if (a->part & LSTMC_CELL_FIRST) {
            const v_f32 c = v_load(a->c + unit), kept = row_load(CELL_GATE(3), left);
            const v_f32 o = cell_value(a, 3, 0, kept), y = v_fn(&a->fn[2], c);
            const v_f32 dm = row_load(a->dm + unit, left);
            d_o = cell_back(a, 3, 0, kept, o, v_mul(dm, y));
            dc = v_fma(v_mul(dm, o), train_slope(&a->fn[2], c, y), dc);
            if (!a->sees_old) dc = cell_term(peephole, 2, panel, d_o, dc);
            row_store(CELL_GATE(3), d_o, left);
            if (a->m) row_store(a->m + unit, v_flush(v_mul(o, y)), left);
        } else {
            d_o = row_load(CELL_GATE(3), left);
        }
        if (a->part & LSTMC_CELL_SECOND) {
            const v_f32 old = v_load(a->old + unit);
            const v_f32 kept_i = row_load(CELL_GATE(0), left),
                        kept_g = row_load(CELL_GATE(2), left);
            const v_f32 i = cell_value(a, 0, 0, kept_i), g = cell_value(a, 2, 1, kept_g);
            v_f32 f, d_f;
            if (a->coupled) {
                f = v_fnma(i, one, one);
                d_f = v_set1(0.0f);
            } else {
                const v_f32 kept = row_load(CELL_GATE(1), left);
                f = cell_value(a, 1, 0, kept);
                d_f = cell_back(a, 1, 0, kept, f, v_mul(dc, old));
            }
            const v_f32 by = a->coupled ? v_fnma(old, one, g) : g;
            const v_f32 d_i = cell_back(a, 0, 0, kept_i, i, v_mul(dc, by));
            const v_f32 d_g = cell_back(a, 2, 1, kept_g, g, v_mul(dc, i));
            row_store(CELL_GATE(0), d_i, left);
            row_store(CELL_GATE(1), d_f, left);
            row_store(CELL_GATE(2), d_g, left);
            dc = v_mul(dc, f);
            dc = cell_term(peephole, 0, panel, d_i, dc);
            if (!a->coupled) dc = cell_term(peephole, 1, panel, d_f, dc);
            if (a->sees_old) dc = cell_term(peephole, 2, panel, d_o, dc);
        }
        row_store(a->dc + unit, a->flush ? v_flush(dc) : dc, left);
    }
}

/* r z n q. dh becomes dh z, the rest of h's gradient is to be added. Without reset_after the second part
 * has da, the gradient of r h, which must be made of d_n first: it adds da r to dh, or with dropout of h
 * puts it in the place of da. */
static void train_gru_back(const lstmc_cell_train_args *a) {
    const v_f32 zero = v_set1(0.0f), one = v_set1(1.0f);
    CELL_VECTORS {
        const v_f32 h = v_load(a->old + unit), dh = row_load(a->dh + unit, left);
        const v_f32 kept_r = row_load(CELL_GATE(0), left), r = cell_value(a, 0, 0, kept_r);
        if (a->part & LSTMC_CELL_FIRST) {
            const v_f32 kept_z = row_load(CELL_GATE(1), left);
            const v_f32 kept_n = row_load(CELL_GATE(2), left);
            const v_f32 z = cell_value(a, 1, 0, kept_z), n = cell_value(a, 2, 1, kept_n);
            const v_f32 d_n = cell_back(a, 2, 1, kept_n, n, v_mul(dh, v_fnma(z, one, one)));
            const v_f32 d_z = cell_back(a, 1, 0, kept_z, z, v_mul(dh, v_fnma(n, one, h)));
            row_store(CELL_GATE(1), d_z, left);
            row_store(CELL_GATE(2), d_n, left);
            if (a->reset_after) {
                const v_f32 q = row_load(CELL_GATE(3), left);
                row_store(CELL_GATE(0), cell_back(a, 0, 0, kept_r, r, v_mul(d_n, q)), left);
                row_store(CELL_GATE(3), v_flush(v_mul(d_n, r)), left);
            }
            row_store(a->dh + unit, v_mul(dh, z), left);
        }
        if (a->part & LSTMC_CELL_SECOND) {
            const v_f32 da = row_load(a->da + unit, left);
            v_f32 seen = h;
            if (a->mask) {
                const v_f32 mask = row_load(a->mask + unit, left);
                seen = v_if_lt(zero, mask, v_flush(v_mul(h, mask)), zero);
            }
            row_store(CELL_GATE(0), cell_back(a, 0, 0, kept_r, r, v_mul(da, seen)), left);
            if (a->mask) {
                row_store(a->da + unit, v_mul(da, r), left);
            } else {
                row_store(a->dh + unit, v_fma(da, r, dh), left);
            }
        }
    }
}

static void train_rnn_back(const lstmc_cell_train_args *a) {
    CELL_VECTORS {
        const v_f32 kept = row_load(CELL_GATE(0), left), y = cell_value(a, 0, 0, kept);
        row_store(CELL_GATE(0), cell_back(a, 0, 0, kept, y, row_load(a->dh + unit, left)), left);
    }
}

/* ------------------------------------------------------------------------------------ others -- */

/* y = flush(fma(x, mask, add)), add being 0 where there is none; flush(add) where mask is 0. */
static void train_masked(const float *x, const float *mask, const float *add, float *y, size_t n) {
    const v_f32 zero = v_set1(0.0f);
    for (size_t i = 0; i < n; i += V_WIDTH) {
        const size_t left = n - i;
        const v_f32 by = row_load(mask + i, left), more = row_load_or(add, i, left, 0.0f);
        const v_f32 sum = v_fma(row_load(x + i, left), by, more);
        row_store(y + i, v_flush(v_if_lt(zero, by, sum, more)), left);
    }
}

static void train_diagonal(const lstmc_diagonal_args *a) {
    for (size_t unit = 0; unit < a->units; unit += V_WIDTH) {
        const size_t left = a->units - unit;
        float *dw = a->dw + unit / a->panel * a->dw_panel + unit % a->panel;
        v_f32 sum = v_load(dw);
        for (uint32_t turn = 0; turn < a->blocks; turn++) {
            const float *x = a->x + (ptrdiff_t)turn * a->x_block + unit;
            const float *dy = a->dy + (ptrdiff_t)turn * a->dy_block + unit;
            for (uint32_t i = 0; i < a->count; i++, x += a->x_step, dy += a->dy_step) {
                sum = v_fma(row_load(dy, left), row_load(x, left), sum);
            }
        }
        v_store(dw, sum);
    }
}
