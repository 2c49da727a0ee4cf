/* The kernels of a fused cell, products and cell in one: once for the LSTM, once for the GRU. Included
 * by algorithms.h, which defines before
 *   F(NAME)           the name of a function: lstm_NAME, gru_NAME
 *   F_GATES           gates of the weights: 3 or 4
 *   F_INPUT(M, u)     M(u, sum, gate) for each sum that the input's product of a gate goes to
 *   F_HIDDEN(M, u)    the same for the product of h
 *   F_LAST_INIT       where the last of the four sums of panel base<u> starts from; others: a->init
 *   F_LAST_STRIDE     between rows of that
 *   F(cell)           what comes behind the sums: F(cell)(a, plain, sums, unit, row, valid)
 *
 *   F_NARROW_...       the sums and cells of row_cortexm.h, which sum is the last there
 *
 * and whose definitions end here. There are always four sums. Those of a single row end in registers, and the cell goes on from there.
 * Those of several rows end in a buffer, over which one loop runs: a tile's registers could not hold
 * the cell too. */

/* How many of the V_WIDTH units from `unit` on are real. */
V_INLINE size_t F(valid)(const lstmc_step_args *a, size_t unit) {
    return unit >= a->units ? 0 : a->units - unit;
}

/* --------------------------------------------------------------------------------------- row -- */

/* The sums of one row and as many vectors as cover the latency of fma; then the cells. Vector u has
 * the units from lane<u> on of the panel that starts with unit base<u>. */
#define ROW_STEP(u, j, g) a##u##j = v_fma(v_load(w##u + at + (size_t)g * panel), x, a##u##j);
#define ROW_START(u)                                                                               \
    const float *init##u = a->init + base##u * F_GATES + lane##u;                                  \
    v_f32 a##u##0 = v_load(init##u), a##u##1 = v_load(init##u + panel);                            \
    v_f32 a##u##2 = v_load(init##u + 2 * panel);                                                   \
    v_f32 a##u##3 = v_load(F_LAST_INIT(base##u, panel) + lane##u);
#define ROW_WEIGHT(u) const float *w##u = s->w + base##u * F_GATES * s->k + lane##u;
#define ROW_INPUT(u) F_INPUT(ROW_STEP, u)
#define ROW_HIDDEN(u) F_HIDDEN(ROW_STEP, u)
#define ROW_CELL(u)                                                                                \
    F(cell)                                                                                        \
    (a, plain, a##u##0, a##u##1, a##u##2, a##u##3, base##u + lane##u, 0,                           \
     F(valid)(a, base##u + lane##u));
#ifdef V_PRODUCT
#define ROW_SUM(u, j, g) , &a##u##j
#define ROW_SEGMENT_OF(SUMS, INDEX)                                                                \
    {                                                                                              \
        const lstmc_segment *s = &a->segment[INDEX];                                               \
        CAT(V_PRODUCT, F_GATES)                                                                    \
        (s->w + base0 * F_GATES * s->k + lane0, panel, s->v, s->k SUMS(ROW_SUM, 0));               \
    }
#if F_GATES == 4 /* the same sums for both, so one piece of code */
#define ROW_SEGMENTS(N)                                                                            \
    for (size_t i = 0; i < 2; i++) ROW_SEGMENT_OF(F_INPUT, i)
#else
#define ROW_SEGMENTS(N) ROW_SEGMENT_OF(F_INPUT, 0) ROW_SEGMENT_OF(F_HIDDEN, 1)
#endif
#else
#define ROW_SEGMENT(N, INDEX, STEP)                                                                \
    {                                                                                              \
        const lstmc_segment *s = &a->segment[INDEX];                                               \
        ROWS_##N(ROW_WEIGHT) size_t at = 0;                                                        \
        for (uint32_t k = 0; k < s->k; k++, at += F_GATES * panel) {                               \
            const v_f32 x = v_set1(s->v[k]);                                                       \
            ROWS_##N(STEP)                                                                         \
        }                                                                                          \
    }
#define ROW_SEGMENTS(N) ROW_SEGMENT(N, 0, ROW_INPUT) ROW_SEGMENT(N, 1, ROW_HIDDEN)
#endif
#define ROW_BODY(N)                                                                                \
    const size_t panel = a->panel;                                                                 \
    ROWS_##N(ROW_START) ROW_SEGMENTS(N) ROWS_##N(ROW_CELL)

V_FLAT void F(row_1)(const lstmc_step_args *a, uint32_t plain, size_t base0, size_t lane0) {
    ROW_BODY(1)
}

#if V_ROW_VECTORS == 2
V_FLAT void F(row_2)(const lstmc_step_args *a, uint32_t plain, size_t base0, size_t lane0,
                     size_t base1, size_t lane1) {
    ROW_BODY(2)
}
#endif

/* Steps that alternate in direction find the weights read last still in the cache: with weights of
 * one and a half times the cache, half of the misses go. */
V_FLAT void F(row_any)(const lstmc_step_args *a, uint32_t plain) {
    const size_t panel = a->panel, end = panel * a->panels;
#if V_ROW_VECTORS == 2
    if (panel == V_WIDTH) { /* two panels at once */
        const size_t rest = end % (2 * panel);
        if (a->backwards && rest) F(row_1)(a, plain, end - panel, 0);
        for (size_t i = 0; i < end - rest; i += 2 * panel) {
            const size_t base = a->backwards ? end - rest - 2 * panel - i : i;
            F(row_2)(a, plain, base, 0, base + panel, 0);
        }
        if (!a->backwards && rest) F(row_1)(a, plain, end - panel, 0);
        return;
    }
#endif
    for (size_t i = 0; i < end; i += panel) {
        const size_t base = a->backwards ? end - panel - i : i;
        size_t lane = 0;
#if V_ROW_VECTORS == 2
        for (; lane + (size_t)2 * V_WIDTH <= panel; lane += (size_t)2 * V_WIDTH) {
            F(row_2)(a, plain, base, lane, base, lane + V_WIDTH);
        }
#endif
        for (; lane < panel; lane += V_WIDTH) F(row_1)(a, plain, base, lane);
    }
}

#ifdef FUSED_CORTEXM
/* The cells of a panel whose functions are not the plain ones. */
static void F(narrow_other)(const lstmc_step_args *a, const float *sums, size_t base) {
    const size_t panel = a->panel;
    for (size_t unit = base; unit < base + panel; unit++, sums++) {
        F(cell)
        (a, 0, sums[0], sums[panel], sums[(5 - F_NARROW_LAST) * panel], sums[F_NARROW_LAST * panel],
         unit, 0, F(valid)(a, unit));
    }
}

/* Panels of 2 units or 1. */
V_INLINE void F(row_narrow)(const lstmc_step_args *a, uint32_t panel) {
    const size_t end = (size_t)panel * a->panels;
    float sums[8];
    for (size_t base = 0; base < end; base += panel) {
        F_NARROW_SUMS(a, panel, base, sums);
        if (LSTMC_ROW_PLAIN || a->plain) {
            F_NARROW_CELLS(a, panel, sums, base);
        } else {
            F(narrow_other)(a, sums, base);
        }
    }
}
#endif

static void F(row)(const lstmc_step_args *a) {
#ifdef FUSED_CORTEXM
    if ((LSTMC_ROW_PANELS & 2) && ((LSTMC_ROW_PANELS == 2) || a->panel == 2)) {
        F(row_narrow)(a, 2);
        return;
    }
    if ((LSTMC_ROW_PANELS & 1) && ((LSTMC_ROW_PANELS & 4) == 0 || a->panel == 1)) {
        F(row_narrow)(a, 1);
        return;
    }
    if ((LSTMC_ROW_PANELS & 4) == 0) return;
#endif
    if (LSTMC_ROW_PLAIN || a->plain) {
        F(row_any)(a, 1);
    } else {
        F(row_any)(a, 0);
    }
}

#ifndef LSTMC_FROZEN /* firmware has one row */
/* -------------------------------------------------------------------------------------- rows -- */

#define TILE_START(r)                                                                              \
    v_f32 a##r##0 = v_load(b->init + (size_t)r * b->init_stride);                                  \
    v_f32 a##r##1 = v_load(b->init + (size_t)r * b->init_stride + panel);                          \
    v_f32 a##r##2 = v_load(b->init + (size_t)r * b->init_stride + 2 * panel);                      \
    v_f32 a##r##3 = v_load(b->last + (size_t)r * b->last_stride);
#define TILE_ROW(r) const float *v##r = s->v + (row + (size_t)r) * s->stride;
#define TILE_STEP(r, j, g) a##r##j = v_fma(w##g, x##r, a##r##j);
#define TILE_INPUT(r)                                                                              \
    {                                                                                              \
        const v_f32 x##r = v_set1(v##r[k]);                                                        \
        F_INPUT(TILE_STEP, r)                                                                      \
    }
#define TILE_HIDDEN(r)                                                                             \
    {                                                                                              \
        const v_f32 x##r = v_set1(v##r[k]);                                                        \
        F_HIDDEN(TILE_STEP, r)                                                                     \
    }
#define TILE_STORE(r, j)                                                                           \
    v_store(b->part + (row + (size_t)r) * 4 * panel + (size_t)j * panel, a##r##j);
#define TILE_END(r) VECS_4(TILE_STORE, r)
#define TILE_SEGMENT(N, INDEX, STEP)                                                               \
    {                                                                                              \
        const lstmc_segment *s = &a->segment[INDEX];                                               \
        const uint32_t from = INDEX ? a->segment[0].k : 0;                                         \
        const uint32_t k0 = b->k0 > from ? b->k0 - from : 0;                                       \
        const uint32_t end = b->k1 > from ? b->k1 - from : 0;                                      \
        const uint32_t k1 = end < s->k ? end : s->k;                                               \
        const float *weight0 = s->w + b->lane, *weight1 = weight0 + panel;                         \
        const float *weight2 = weight1 + panel, *weight3 = weight2 + panel;                        \
        (void)weight3;                                                                             \
        ROWS_##N(TILE_ROW) size_t at = (size_t)k0 * F_GATES * panel;                               \
        for (uint32_t k = k0; k < k1; k++, at += F_GATES * panel) {                                \
            CAT(VECS_, F_GATES)(T_LOAD_WEIGHT, 0) ROWS_##N(STEP)                                   \
        }                                                                                          \
    }
#define F_TILE(N)                                                                                  \
    static void F(tile_##N)(const lstmc_step_args *a, const block *b, size_t row) {                \
        const size_t panel = a->panel;                                                             \
        ROWS_##N(TILE_START) TILE_SEGMENT(N, 0, TILE_INPUT) TILE_SEGMENT(N, 1, TILE_HIDDEN)        \
            ROWS_##N(TILE_END)                                                                     \
    }
TILES(F_TILE)

/* The cells of the units from `unit` on, behind the sums of some rows from p on. */
V_FLAT void F(cells_any)(const lstmc_step_args *a, uint32_t plain, const float *p, size_t unit,
                         size_t row, size_t rows) {
    const size_t panel = a->panel, valid = F(valid)(a, unit);
    for (size_t r = row; r < row + rows; r++, p += 4 * panel) {
        F(cell)
        (a, plain, v_load(p), v_load(p + panel), v_load(p + 2 * panel), v_load(p + 3 * panel), unit,
         r, valid);
    }
}

static void F(cells)(const lstmc_step_args *a, const float *p, size_t unit, size_t row,
                     size_t rows) {
    if (a->plain) {
        F(cells_any)(a, 1, p, unit, row, rows);
    } else {
        F(cells_any)(a, 0, p, unit, row, rows);
    }
}

static void F(rows)(const lstmc_step_args *a) {
    const uint32_t k = a->segment[0].k + a->segment[1].k;
    const size_t panel = a->panel;
    block b;
    b.k0 = 0;
    do {
        b.k1 = k - b.k0 > V_K_BLOCK + V_K_BLOCK / 2 ? b.k0 + V_K_BLOCK : k;
        for (b.lane = 0; b.lane < panel; b.lane += V_WIDTH) {
            const float *init = (b.k0 ? a->part : a->init) + b.lane;
            const float *last = (b.k0 ? a->part + 3 * panel : F_LAST_INIT(0, panel)) + b.lane;
            b.part = a->part + b.lane;
            b.init_stride = b.k0 ? 4 * panel : a->init_stride;
            b.last_stride = b.k0 ? 4 * panel : F_LAST_STRIDE;
            for (size_t row = 0; row < a->rows;) {
                const size_t height = tile_height(a->rows - row);
                b.init = init + row * b.init_stride;
                b.last = last + row * b.last_stride;
                switch (height) { TILE_CASES(F(tile), (a, &b, row)) }
                if (b.k1 == k) F(cells)(a, b.part + row * 4 * panel, b.lane, row, height);
                row += height;
            }
        }
        b.k0 = b.k1;
    } while (b.k0 < k);
}

#undef TILE_START
#undef TILE_ROW
#undef TILE_STEP
#undef TILE_INPUT
#undef TILE_HIDDEN
#undef TILE_STORE
#undef TILE_END
#undef TILE_SEGMENT
#undef F_TILE
#endif

#undef ROW_STEP
#undef ROW_START
#undef ROW_WEIGHT
#undef ROW_INPUT
#undef ROW_HIDDEN
#undef ROW_CELL
#undef ROW_SEGMENT
#undef ROW_SEGMENTS
#undef ROW_SUM
#undef ROW_SEGMENT_OF
#undef ROW_BODY

#undef F
#undef F_GATES
#undef F_INPUT
#undef F_HIDDEN
#undef F_NARROW_SUMS
#undef F_NARROW_CELLS
#undef F_NARROW_LAST
#undef F_LAST_INIT
#undef F_LAST_STRIDE
