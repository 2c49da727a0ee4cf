/* Products of training: lstmc_gemm_args. Included by train_algorithms.h.
 *
 * Tiles of V_TILE_ROWS rows of c by four vectors of columns, as in kernels/matmul.h; here both operands
 * move on with r. Blocks of r keep what a tile reads of b in a cache for the tiles of other rows. Where
 * there are many such tiles it is copied together first: rows of b that lie a power of two apart would
 * push one another out of the cache (AVX2, H = 512: 61 GFLOP/s, copied 90). */

/* Steps of r at once, copied or not. */
#define GEMM_BLOCK 128u
#ifndef GEMM_FAR
#define GEMM_FAR 512u
#endif

/* Chips have no such cache, and no stack for a copy. */
#if V_WIDTH >= 8
#define GEMM_COPY 1
#else
#define GEMM_COPY 0
#endif

/* Where the columns of a tile are. */
typedef struct gemm_tile {
    const float *b[4];
    float *c[4];
    size_t valid[4]; /* real units from there on; V_WIDTH at most matters */
    uint32_t whole;  /* all vectors are */
    uint32_t load, flush;
    uint32_t first, blocks, from, count; /* of r */
    ptrdiff_t b_step, b_block, b_first;  /* how b moves with r, and where it is at first and from */
} gemm_tile;

V_INLINE v_f32 gemm_load(const float *p, size_t valid) {
    return valid >= V_WIDTH ? v_load(p) : v_load_n(p, valid);
}

#define GEMM_ROW(r) const float *v##r = a->a + (ptrdiff_t)(row + (size_t)r) * a->a_next;
#define GEMM_POINT(r, j) const float *weight##j;
#define GEMM_AT(r, j) weight##j = t->b[j] + move_b;
#define GEMM_LOAD(r, j) const v_f32 w##j = v_load(weight##j);
#define GEMM_LOAD_N(r, j) const v_f32 w##j = gemm_load(weight##j, t->valid[j]);
#define GEMM_INIT(r, j)                                                                            \
    v_f32 a##r##j =                                                                                \
        t->load ? gemm_load(t->c[j] + (row + (size_t)r) * a->c_next, room##j) : v_set1(0.0f);
#define GEMM_ROOM(r, j) const size_t room##j = a->padded ? V_WIDTH : t->valid[j];
#define GEMM_STORE(r, j)                                                                           \
    row_store(t->c[j] + (row + (size_t)r) * a->c_next, t->flush ? v_flush(a##r##j) : a##r##j,      \
              room##j);
#define GEMM_NEXT(r, j) weight##j += t->b_step;
#define GEMM_INIT_1(r) VECS_1(GEMM_INIT, r)
#define GEMM_INIT_2(r) VECS_2(GEMM_INIT, r)
#define GEMM_INIT_4(r) VECS_4(GEMM_INIT, r)
#define GEMM_STEP(r, V)                                                                            \
    {                                                                                              \
        const v_f32 x##r = v_set1(v##r[move_a]);                                                   \
        VECS_##V(T_MULTIPLY, r)                                                                    \
    }
#define GEMM_STEP_1(r) GEMM_STEP(r, 1)
#define GEMM_STEP_2(r) GEMM_STEP(r, 2)
#define GEMM_STEP_4(r) GEMM_STEP(r, 4)
#define GEMM_END_1(r) VECS_1(GEMM_STORE, r)
#define GEMM_END_2(r) VECS_2(GEMM_STORE, r)
#define GEMM_END_4(r) VECS_4(GEMM_STORE, r)
#define GEMM_LOOP(N, V, LOAD)                                                                      \
    for (uint32_t k = 0; k < t->count; k++) {                                                      \
        VECS_##V(LOAD, 0) ROWS_##N(GEMM_STEP_##V) VECS_##V(GEMM_NEXT, 0) move_a += a->a_step;      \
    }
#define GEMM_TILE(N, V)                                                                            \
    static void gemm_tile_##V##_##N(const lstmc_gemm_args *a, const gemm_tile *t, size_t row) {    \
        VECS_##V(GEMM_ROOM, 0) ROWS_##N(GEMM_INIT_##V) ROWS_##N(GEMM_ROW)                          \
            VECS_##V(GEMM_POINT, 0) for (uint32_t block = t->first; block < t->first + t->blocks;  \
                                         block++) {                                                \
            ptrdiff_t move_a = (ptrdiff_t)block * a->a_block + (ptrdiff_t)t->from * a->a_step;     \
            const ptrdiff_t move_b = t->b_first + (ptrdiff_t)(block - t->first) * t->b_block;      \
            VECS_##V(GEMM_AT, 0) if (t->whole) { GEMM_LOOP(N, V, GEMM_LOAD) }                      \
            else {                                                                                 \
                GEMM_LOOP(N, V, GEMM_LOAD_N)                                                       \
            }                                                                                      \
        }                                                                                          \
        ROWS_##N(GEMM_END_##V)                                                                     \
    }

#define GEMM_TILE_1(N) GEMM_TILE(N, 1)
#define GEMM_TILE_2(N) GEMM_TILE(N, 2)
#define GEMM_TILE_4(N) GEMM_TILE(N, 4)
TILES(GEMM_TILE_1)
TILES(GEMM_TILE_2)
TILES(GEMM_TILE_4)

/* Whether enough tiles read what is copied. Weights (wide) lie together as they are. */
V_INLINE int gemm_copies(const lstmc_gemm_args *a) {
    return GEMM_COPY && !a->wide && a->rows >= 4 * V_TILE_ROWS;
}

#if GEMM_COPY
/* Four vectors of b for all r of a block, one after another. */
static void gemm_copy(gemm_tile *t, float *copy) {
    float *to = copy;
    for (uint32_t block = 0; block < t->blocks; block++) {
        ptrdiff_t at = t->b_first + (ptrdiff_t)block * t->b_block;
        for (uint32_t r = 0; r < t->count; r++, at += t->b_step, to += (size_t)4 * V_WIDTH) {
            for (size_t j = 0; j < 4; j++) {
                v_store(to + j * V_WIDTH, gemm_load(t->b[j] + at, t->valid[j]));
            }
        }
    }
    for (size_t j = 0; j < 4; j++) t->b[j] = copy + j * V_WIDTH;
    t->whole = 1;
    t->b_first = 0;
    t->b_step = (ptrdiff_t)4 * V_WIDTH;
    t->b_block = (ptrdiff_t)t->count * 4 * V_WIDTH;
}
#endif

/* Some of r, all columns, all rows. */
static void gemm_block(const lstmc_gemm_args *a, gemm_tile *t) {
    const size_t panels = (a->units + a->panel - 1) / a->panel, lanes = a->panel / V_WIDTH;
    const size_t last = (a->units - (panels - 1) * a->panel + V_WIDTH - 1) / V_WIDTH;
    /* Vectors that hold real units, numbered by panel, gate and place. */
    const size_t all = ((panels - 1) * lanes + last) * a->gates;
    for (size_t first = 0; first < all;) {
        const size_t vectors = all - first >= 4 ? 4 : all - first >= 2 ? 2 : 1;
        t->whole = 1;
        for (size_t j = 0; j < vectors; j++) {
            const size_t p = (first + j) / (lanes * a->gates),
                         in = first + j - p * lanes * a->gates;
            const size_t each = p + 1 < panels ? lanes : last;
            const size_t g = in / each, l = in % each * V_WIDTH;
            const size_t unit = p * a->panel + l;
            t->b[j] = a->b + g * a->b_gate + unit;
            t->c[j] = a->c + p * a->c_panel + g * a->c_gate + l;
            t->valid[j] = a->units - unit;
            t->whole &= a->wide || t->valid[j] >= V_WIDTH;
        }
        t->b_step = a->b_step;
        t->b_block = a->b_block;
        t->b_first = (ptrdiff_t)t->first * a->b_block + (ptrdiff_t)t->from * a->b_step;
#if GEMM_COPY
        float copy[GEMM_BLOCK * 4 * V_WIDTH];
        if (vectors == 4 && gemm_copies(a)) gemm_copy(t, copy);
#endif
        for (size_t row = 0; row < a->rows;) {
            const size_t height = tile_height(a->rows - row);
            if (vectors == 4) {
                switch (height) { TILE_CASES(gemm_tile_4, (a, t, row)) }
            } else if (vectors == 2) {
                switch (height) { TILE_CASES(gemm_tile_2, (a, t, row)) }
            } else {
                switch (height) { TILE_CASES(gemm_tile_1, (a, t, row)) }
            }
            row += height;
        }
        first += vectors;
    }
}

static void train_gemm(const lstmc_gemm_args *a) {
    gemm_tile t;
    memset(&t, 0, sizeof t);
    t.load = !a->zero;
    if (!a->count || !a->blocks) {
        if (a->zero || a->flush) { /* nothing to add, but c is to be as said */
            t.flush = a->flush;
            gemm_block(a, &t);
        }
        return;
    }
    const uint32_t most = gemm_copies(a) ? GEMM_BLOCK : GEMM_FAR;
    const uint32_t together = a->count >= most ? 1 : most / a->count;
    const uint32_t pieces = (a->count - 1) / most + 1;
    for (uint32_t block = 0; block < a->blocks; block += t.blocks) {
        t.first = block;
        t.blocks = a->blocks - block < together ? a->blocks - block : together;
        for (uint32_t i = 0; i < pieces; i++) {
            t.from = (uint32_t)((uint64_t)a->count * i / pieces);
            t.count = (uint32_t)((uint64_t)a->count * (i + 1) / pieces) - t.from;
            t.flush = a->flush && i + 1 == pieces && block + t.blocks == a->blocks;
            gemm_block(a, &t);
            t.load = 1;
        }
    }
}
