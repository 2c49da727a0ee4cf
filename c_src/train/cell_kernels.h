/* What the kernels of recurrent layers' training are given; included by train_kernels.h. */
#ifndef LSTMC_CELL_KERNELS_H
#define LSTMC_CELL_KERNELS_H

#include "../kernels/kernels.h"

/* One row of a cell at one step, all panels of one width. Numbers of units are [unit] without padding,
 * but for what forward owns (pre, more, peephole, and to be read only old and c), which is padded. */
typedef struct lstmc_cell_train_args {
    lstmc_fn fn[3]; /* gate, candidate, output; or the RNN's activation */
    float clip;
    uint32_t outputs; /* bit g: gate g is kept as its output, not as its pre-activation */
    uint32_t coupled, sees_old, reset_after;
    uint32_t part;          /* backward: LSTMC_CELL_..., below */
    uint32_t flush;         /* LSTM, backward: dc is flushed, nothing is to be added to it */
    uint32_t panel, panels; /* width, and how many */
    uint32_t units;         /* real ones in all of them */
    size_t stride;          /* from one of the kept gates to the next: units of the layer */
    const float *pre;       /* keep: [panel][gate][width], as forward's cell has read it */
    const float *more;      /* keep, GRU: R n + bias, or r h */
    const float *peephole;  /* LSTM: [panel][i f o][width], or NULL */
    const float *old;       /* LSTM: c before the step; GRU: h before it */
    const float *c;         /* LSTM: after it */
    const float *mask;      /* GRU, backward without reset_after: dropout of h; NULL: none */
    float *gates;           /* [gate][stride]: kept by forward, gradients after backward */
    const float *dm;        /* LSTM: the gradient of o * output(c) */
    float *m;               /* LSTM: gets o * output(c), flushed; or NULL */
    float *dh; /* GRU, RNN: the gradient of the new h; a GRU puts a part of h's there */
    float *dc; /* LSTM: the gradient of the new c, gets its part of that of c */
    float *da; /* GRU without reset_after: the gradient of r h */
} lstmc_cell_train_args;

/* dw[u] = dw[u] + sum over blocks and in each over r of dy[r][u] x[r][u], one chain of fma; block j's dy and
 * x are dy_block and x_block floats after those of the block before. All panels of one width; unit
 * p * panel + l of dw is at dw + p * dw_panel + l. */
typedef struct lstmc_diagonal_args {
    const float *x, *dy;
    ptrdiff_t x_step, x_block, dy_step, dy_block;
    float *dw;
    size_t dw_panel;
    uint32_t count, blocks;
    uint32_t units; /* real ones in all panels */
    uint32_t panel;
} lstmc_diagonal_args;

#endif
