/* The recurrent cells with all their options, over pre-activations that are in memory. Included by
 * algorithms.h. A gate function may end in a product: what is added to or taken from one goes through
 * fma, where there is nothing to contract. */

/* The unit at the start of a vector, and where its gates are. */
#define CELL_UNITS                                                                                 \
    const size_t panel = a->panel, end = panel * a->panels;                                        \
    for (size_t unit = 0; unit < end; unit += V_WIDTH)

#define CELL_PRE(G) (a->pre + unit / panel * panel * (G) + unit % panel)

V_INLINE v_f32 cell_clip(const lstmc_cell_args *a, v_f32 p) {
    if (a->clip == 0.0f) return p;
    return v_max(v_set1(-a->clip), v_min(v_set1(a->clip), p)); /* NaN stays */
}

V_INLINE v_f32 cell_gate(const lstmc_cell_args *a, int fn, v_f32 p) {
    return v_fn(&a->fn[fn], cell_clip(a, p));
}

V_INLINE v_f32 cell_peep(const float *peephole, size_t gate, size_t panel, v_f32 c, v_f32 p) {
    return peephole ? v_fma(v_load(peephole + gate * panel), c, p) : p;
}

V_INLINE void cell_store(const lstmc_cell_args *a, size_t unit, v_f32 h) {
    v_store(a->to + unit, h);
    if (!a->y || unit >= a->units) return;
    if (a->units - unit >= V_WIDTH) {
        v_store(a->y + unit, h);
    } else {
        v_store_n(a->y + unit, h, a->units - unit);
    }
}

/* i f g o. A first part alone keeps the old c out of the second, so o must not see it then. */
static void lstm_cell_all(const lstmc_cell_args *a) {
    const v_f32 one = v_set1(1.0f);
    CELL_UNITS {
        const float *pre = CELL_PRE(4);
        const float *peephole =
            a->peephole ? a->peephole + unit / panel * panel * 3 + unit % panel : NULL;
        const v_f32 old = v_load(a->c + unit);
        v_f32 c = old;
        if (a->part & LSTMC_CELL_FIRST) {
            const v_f32 i = cell_gate(a, 0, cell_peep(peephole, 0, panel, old, v_load(pre)));
            const v_f32 f =
                a->coupled
                    ? v_fnma(i, one, one)
                    : cell_gate(a, 0, cell_peep(peephole, 1, panel, old, v_load(pre + panel)));
            const v_f32 g = cell_gate(a, 1, v_load(pre + 2 * panel));
            c = v_flush(v_fma(f, old, v_mul(i, g)));
            v_store(a->c + unit, c);
        }
        if (a->part & LSTMC_CELL_SECOND) {
            const v_f32 seen = a->sees_old ? old : c;
            const v_f32 o =
                cell_gate(a, 0, cell_peep(peephole, 2, panel, seen, v_load(pre + 3 * panel)));
            cell_store(a, unit, v_flush(v_mul(o, v_fn(&a->fn[2], c))));
        }
    }
}

/* r z n. With reset_after, buffer holds R n + bias and n = fma(r, buffer, pre n); else the first part
 * puts r h there, and the caller adds R times it to pre n before the second. */
static void gru_cell(const lstmc_cell_args *a) {
    const v_f32 one = v_set1(1.0f);
    CELL_UNITS {
        const float *pre = CELL_PRE(3);
        const v_f32 h = v_load(a->h + unit);
        if ((a->part & LSTMC_CELL_FIRST) && !a->reset_after) {
            const v_f32 r = cell_gate(a, 0, v_load(pre));
            v_store(a->buffer + unit, v_flush(v_mul(r, h)));
        }
        if (a->part & LSTMC_CELL_SECOND) {
            v_f32 n = v_load(pre + 2 * panel);
            if (a->reset_after) {
                n = v_fma(cell_gate(a, 0, v_load(pre)), v_load(a->buffer + unit), n);
            }
            n = cell_gate(a, 1, n);
            const v_f32 z = cell_gate(a, 0, v_load(pre + panel));
            cell_store(a, unit, v_flush(v_fma(z, h, v_mul(v_fnma(z, one, one), n))));
        }
    }
}

static void rnn_cell(const lstmc_cell_args *a) {
    CELL_UNITS { cell_store(a, unit, v_flush(cell_gate(a, 0, v_load(CELL_PRE(1))))); }
}
