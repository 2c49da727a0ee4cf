/* Checks of the recurrent cells with all their options: lstm_cell, gru_cell, rnn_cell. */
#ifndef CHECK_CELLS_H
#define CHECK_CELLS_H

#include "check.h"

static struct {
    lstmc_cell_args args;
    buffer *pre, *peephole, *buffer, *c, *h, *to, *y;
} cell;

static lstmc_cell_args cell_args(int copy) {
    lstmc_cell_args a = cell.args;
    a.pre = copy_of(cell.pre, copy);
    a.peephole = copy_of(cell.peephole, copy);
    a.buffer = copy_of(cell.buffer, copy);
    a.c = copy_of(cell.c, copy);
    a.h = copy_of(cell.h, copy);
    a.to = copy_of(cell.to, copy);
    a.y = copy_of(cell.y, copy);
    return a;
}

/* What all cells have; returns the units, padded. */
static size_t draw_cell(uint32_t gates) {
    lstmc_cell_args *a = &cell.args;
    memset(&cell, 0, sizeof cell);
    a->panel = draw_panel();
    a->panels = between(1, 4);
    const uint32_t padded = a->panel * a->panels;
    a->units = between(1, padded);
    for (int i = 0; i < 3; i++) a->fn[i] = draw_fn(one_in(2));
    a->clip = one_in(2) ? 0.0f : fabsf((float)((int32_t)random_bits() >> 8) * 0x1p-22f) + 0x1p-9f;
    a->part = between(1, 3);
    cell.pre = draw_buffer("pre", (size_t)gates * padded);
    cell.to = draw_buffer("to", padded);
    if (!one_in(3)) cell.y = draw_buffer("y", a->units);
    return padded;
}

static uint32_t drawn_cell(void) {
    const lstmc_cell_args *a = &cell.args;
    snprintf(sizes, sizeof sizes,
             "units %lu in panels of %lu, fn %lu %lu %lu, clip %g, part %lu, flags %lu %lu %lu",
             (unsigned long)a->units, (unsigned long)a->panel, (unsigned long)a->fn[0].kind,
             (unsigned long)a->fn[1].kind, (unsigned long)a->fn[2].kind, (double)a->clip,
             (unsigned long)a->part, (unsigned long)a->coupled, (unsigned long)a->sees_old,
             (unsigned long)a->reset_after);
    return a->panel;
}

/* A gate of a unit: its pre-activation's place among those of all panels. */
static size_t place(const lstmc_cell_args *a, size_t unit, size_t gates, size_t gate) {
    return (unit / a->panel * gates + gate) * a->panel + unit % a->panel;
}

static float plain_gate(const lstmc_cell_args *a, int fn, float p) {
    if (a->clip != 0.0f) { /* NaN stays */
        if (p > a->clip) p = a->clip;
        if (p < -a->clip) p = -a->clip;
    }
    return plain_fn(&a->fn[fn], p);
}

static void plain_store(const lstmc_cell_args *a, size_t unit, float h) {
    a->to[unit] = plain_flush(h);
    if (a->y && unit < a->units) a->y[unit] = plain_flush(h);
}

/* ---------------------------------------------------------------------------------------- LSTM -- */

static uint32_t draw_lstm_cell(void) {
    const size_t padded = draw_cell(4);
    cell.c = draw_buffer("c", padded);
    if (one_in(2)) cell.peephole = draw_buffer("peephole", 3 * padded);
    cell.args.coupled = below(2);
    cell.args.sees_old = cell.args.part == 3 && below(2); /* else the old c is gone */
    return drawn_cell();
}

static void call_lstm_cell(const lstmc_kernels *kernels, int copy) {
    const lstmc_cell_args a = cell_args(copy);
    kernels->lstm_cell(&a);
}

static void plain_lstm_cell(int copy) {
    const lstmc_cell_args a = cell_args(copy);
    for (size_t unit = 0; unit < (size_t)a.panel * a.panels; unit++) {
        const float old = a.c[unit];
        float p[4];
        for (size_t gate = 0; gate < 4; gate++) p[gate] = a.pre[place(&a, unit, 4, gate)];
        if (a.peephole) {
            p[0] = plain_fma(a.peephole[place(&a, unit, 3, 0)], old, p[0]);
            p[1] = plain_fma(a.peephole[place(&a, unit, 3, 1)], old, p[1]);
        }
        float c = old;
        if (a.part & LSTMC_CELL_FIRST) {
            const float i = plain_gate(&a, 0, p[0]);
            const float f = a.coupled ? plain_fma(-i, 1.0f, 1.0f) : plain_gate(&a, 0, p[1]);
            c = a.c[unit] = plain_flush(plain_fma(f, old, i * plain_gate(&a, 1, p[2])));
        }
        if (a.part & LSTMC_CELL_SECOND) {
            if (a.peephole) {
                const float seen = a.sees_old ? old : c;
                p[3] = plain_fma(a.peephole[place(&a, unit, 3, 2)], seen, p[3]);
            }
            plain_store(&a, unit, plain_gate(&a, 0, p[3]) * plain_fn(&a.fn[2], c));
        }
    }
}

/* ----------------------------------------------------------------------------------- GRU and RNN -- */

static uint32_t draw_gru_cell(void) {
    const size_t padded = draw_cell(3);
    cell.buffer = draw_buffer("buffer", padded);
    cell.h = draw_buffer("h", padded);
    cell.args.reset_after = below(2);
    return drawn_cell();
}

static void call_gru_cell(const lstmc_kernels *kernels, int copy) {
    const lstmc_cell_args a = cell_args(copy);
    kernels->gru_cell(&a);
}

static void plain_gru_cell(int copy) {
    const lstmc_cell_args a = cell_args(copy);
    for (size_t unit = 0; unit < (size_t)a.panel * a.panels; unit++) {
        const float r = plain_gate(&a, 0, a.pre[place(&a, unit, 3, 0)]);
        const float z = plain_gate(&a, 0, a.pre[place(&a, unit, 3, 1)]);
        float n = a.pre[place(&a, unit, 3, 2)];
        if ((a.part & LSTMC_CELL_FIRST) && !a.reset_after) {
            a.buffer[unit] = plain_flush(r * a.h[unit]);
        }
        if (a.part & LSTMC_CELL_SECOND) {
            if (a.reset_after) n = plain_fma(r, a.buffer[unit], n);
            n = plain_gate(&a, 1, n);
            const float rest = plain_fma(-z, 1.0f, 1.0f) * n;
            plain_store(&a, unit, plain_fma(z, a.h[unit], rest));
        }
    }
}

static uint32_t draw_rnn_cell(void) {
    (void)draw_cell(1);
    return drawn_cell();
}

static void call_rnn_cell(const lstmc_kernels *kernels, int copy) {
    const lstmc_cell_args a = cell_args(copy);
    kernels->rnn_cell(&a);
}

static void plain_rnn_cell(int copy) {
    const lstmc_cell_args a = cell_args(copy);
    for (size_t unit = 0; unit < (size_t)a.panel * a.panels; unit++) {
        plain_store(&a, unit, plain_gate(&a, 0, a.pre[unit]));
    }
}

#endif
