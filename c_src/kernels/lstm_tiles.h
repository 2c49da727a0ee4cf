/* The LSTM's kernels, products and cell in one. Included by algorithms.h.
 *
 * The products of a single row end in registers, and the cell goes on from there. Those of several
 * rows end in a buffer, over which one loop runs: a tile's registers could not hold the cell too. */

/* -------------------------------------------------------------------------------------- cell -- */

/* V_WIDTH units of one row behind their products, `valid` of them real. */
V_INLINE void lstm_cell(const lstmc_lstm_args *a, uint32_t plain, v_f32 i, v_f32 f, v_f32 g,
                        v_f32 o, float *c, float *h, float *y, size_t valid) {
    v_f32 cell = v_load(c);
    if (plain) {
        cell = v_fma(V_HOT(v_sigmoid)(f), cell, v_mul(V_HOT(v_sigmoid)(i), V_HOT(v_tanh)(g)));
    } else {
        cell = v_fma(v_fn_quick(&a->gate, f), cell,
                     v_mul(v_fn_quick(&a->gate, i), v_fn_quick(&a->candidate, g)));
    }
    cell = v_flush(cell);
    v_store(c, cell);
    const v_f32 out = plain ? v_mul(V_HOT(v_sigmoid)(o), V_HOT(v_tanh)(cell))
                            : v_mul(v_fn_quick(&a->gate, o), v_fn_quick(&a->output, cell));
    const v_f32 flushed = v_flush(out);
    v_store(h, flushed);
    if (!y) return;
    if (valid >= V_WIDTH) {
        v_store(y, flushed);
    } else if (valid) {
        v_store_n(y, flushed, valid);
    }
}

/* How many of the V_WIDTH units from `unit` on are real. */
V_INLINE size_t lstm_valid(const lstmc_lstm_args *a, size_t unit) {
    return unit >= a->units ? 0 : a->units - unit;
}

/* --------------------------------------------------------------------------------------- row -- */

/* The products of one row and as many vectors as cover the latency of fma, 4 accumulators each; then
 * the cells. Vector u has the units from lane<u> on of the panel that starts with unit base<u>. */
#define ROW_INIT(u, j) v_f32 a##u##j = v_load(init##u + (size_t)j * panel);
#define ROW_STEP(u, j) a##u##j = v_fma(v_load(w##u + at + (size_t)j * panel), x, a##u##j);
#define ROW_PLACE(u)                                                                               \
    const size_t unit##u = base##u + lane##u;                                                      \
    const float *init##u = a->init + base##u * 4 + lane##u;
#define ROW_SEGMENT(u) const float *w##u = s->w + base##u * 4 * s->k + lane##u;
#define ROW_ALL(u) VECS_4(ROW_STEP, u)
#define ROW_START(u) VECS_4(ROW_INIT, u)
#define ROW_CELL(u)                                                                                \
    lstm_cell(a, plain, a##u##0, a##u##1, a##u##2, a##u##3, a->c + unit##u, a->h + unit##u,        \
              a->y ? a->y + unit##u : NULL, lstm_valid(a, unit##u));
#define ROW_BODY(N)                                                                                \
    const size_t panel = a->panel;                                                                 \
    ROWS_##N(ROW_PLACE) ROWS_##N(ROW_START) for (int part = 0; part < 2; part++) {                 \
        const lstmc_segment *s = &a->segment[part];                                                \
        ROWS_##N(ROW_SEGMENT) size_t at = 0;                                                       \
        for (uint32_t k = 0; k < s->k; k++, at += 4 * panel) {                                     \
            const v_f32 x = v_set1(s->v[k]);                                                       \
            ROWS_##N(ROW_ALL)                                                                      \
        }                                                                                          \
    }                                                                                              \
    ROWS_##N(ROW_CELL)

V_INLINE void lstm_row_1(const lstmc_lstm_args *a, uint32_t plain, size_t base0, size_t lane0) {
    ROW_BODY(1)
}

#if V_ROW_VECTORS == 2
V_INLINE void lstm_row_2(const lstmc_lstm_args *a, uint32_t plain, size_t base0, size_t lane0,
                         size_t base1, size_t lane1) {
    ROW_BODY(2)
}
#endif

/* Steps that alternate in direction find the weights read last still in the cache: with weights of
 * one and a half times the cache, half of the misses go. */
V_INLINE void lstm_row_any(const lstmc_lstm_args *a, uint32_t plain) {
    const size_t panel = a->panel, end = panel * a->panels;
#if V_ROW_VECTORS == 2
    if (panel == V_WIDTH) { /* two panels at once */
        const size_t rest = end % (2 * panel);
        if (a->backwards && rest) lstm_row_1(a, plain, end - panel, 0);
        for (size_t i = 0; i < end - rest; i += 2 * panel) {
            const size_t base = a->backwards ? end - rest - 2 * panel - i : i;
            lstm_row_2(a, plain, base, 0, base + panel, 0);
        }
        if (!a->backwards && rest) lstm_row_1(a, plain, end - panel, 0);
        return;
    }
#endif
    for (size_t i = 0; i < end; i += panel) {
        const size_t base = a->backwards ? end - panel - i : i;
        size_t lane = 0;
#if V_ROW_VECTORS == 2
        for (; lane + 2 * V_WIDTH <= panel; lane += 2 * V_WIDTH) {
            lstm_row_2(a, plain, base, lane, base, lane + V_WIDTH);
        }
#endif
        for (; lane < panel; lane += V_WIDTH) lstm_row_1(a, plain, base, lane);
    }
}

static void lstm_row(const lstmc_lstm_args *a) {
    if (a->plain) {
        lstm_row_any(a, 1);
    } else {
        lstm_row_any(a, 0);
    }
}

/* -------------------------------------------------------------------------------------- rows -- */

/* The products of several rows with V_WIDTH units: a block [k0, k1) of the columns of both segments
 * together. */
typedef struct block {
    uint32_t k0, k1;
    const float *init; /* of these units, in the first row */
    size_t init_stride;
    float *part;
    size_t lane;
} block;

#define TILE_INIT(r, j)                                                                            \
    v_f32 a##r##j = v_load(b->init + (size_t)r * b->init_stride + (size_t)j * panel);
#define TILE_ROW(r) const float *v##r = s->v + (row + (size_t)r) * s->stride;
#define TILE_STEP(r)                                                                               \
    {                                                                                              \
        const v_f32 x##r = v_set1(v##r[k]);                                                        \
        VECS_4(T_MULTIPLY, r)                                                                      \
    }
#define TILE_STORE(r, j)                                                                           \
    v_store(b->part + (row + (size_t)r) * 4 * panel + (size_t)j * panel, a##r##j);
#define TILE_START(r) VECS_4(TILE_INIT, r)
#define TILE_END(r) VECS_4(TILE_STORE, r)
#define LSTM_TILE(N)                                                                               \
    static void lstm_tile_##N(const lstmc_lstm_args *a, const block *b, size_t row) {              \
        const size_t panel = a->panel;                                                             \
        ROWS_##N(TILE_START) uint32_t from = 0;                                                    \
        for (int part = 0; part < 2; part++) {                                                     \
            const lstmc_segment *s = &a->segment[part];                                            \
            const uint32_t k0 = b->k0 > from ? b->k0 - from : 0;                                   \
            const uint32_t k1 = b->k1 > from ? b->k1 - from : 0;                                   \
            const float *weight0 = s->w + b->lane, *weight1 = weight0 + panel;                     \
            const float *weight2 = weight1 + panel, *weight3 = weight2 + panel;                    \
            ROWS_##N(TILE_ROW) size_t at = (size_t)k0 * 4 * panel;                                 \
            for (uint32_t k = k0; k < k1 && k < s->k; k++, at += 4 * panel) {                      \
                VECS_4(T_LOAD_WEIGHT, 0)                                                           \
                ROWS_##N(TILE_STEP)                                                                \
            }                                                                                      \
            from += s->k;                                                                          \
        }                                                                                          \
        ROWS_##N(TILE_END)                                                                         \
    }
TILES(LSTM_TILE)

/* The cells of the units from lane on, behind `rows` rows of sums from p on. */
V_INLINE void lstm_cells_any(const lstmc_lstm_args *a, uint32_t plain, const float *p, size_t unit,
                             size_t row, size_t rows) {
    const size_t panel = a->panel, valid = lstm_valid(a, unit);
    for (size_t r = row; r < row + rows; r++, p += 4 * panel) {
        lstm_cell(a, plain, v_load(p), v_load(p + panel), v_load(p + 2 * panel),
                  v_load(p + 3 * panel), a->c + r * a->state_stride + unit,
                  a->h + r * a->state_stride + unit, a->y ? a->y + r * a->y_stride + unit : NULL,
                  valid);
    }
}

static void lstm_cells(const lstmc_lstm_args *a, const float *p, size_t unit, size_t row,
                       size_t rows) {
    if (a->plain) {
        lstm_cells_any(a, 1, p, unit, row, rows);
    } else {
        lstm_cells_any(a, 0, p, unit, row, rows);
    }
}

static void lstm_rows(const lstmc_lstm_args *a) {
    const uint32_t k = a->segment[0].k + a->segment[1].k;
    block b;
    b.k0 = 0;
    do {
        b.k1 = k - b.k0 > V_K_BLOCK + V_K_BLOCK / 2 ? b.k0 + V_K_BLOCK : k;
        for (b.lane = 0; b.lane < a->panel; b.lane += V_WIDTH) {
            const float *init = (b.k0 ? a->part : a->init) + b.lane;
            b.part = a->part + b.lane;
            b.init_stride = b.k0 ? (size_t)4 * a->panel : a->init_stride;
            for (size_t row = 0; row < a->rows;) {
                const size_t height = tile_height(a->rows - row);
                b.init = init + row * b.init_stride;
                switch (height) { TILE_CASES(lstm_tile, (a, &b, row)) }
                if (b.k1 == k) lstm_cells(a, b.part + row * 4 * a->panel, b.lane, row, height);
                row += height;
            }
        }
        b.k0 = b.k1;
    } while (b.k0 < k);
}
