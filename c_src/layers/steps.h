/* What layers on the steps of a sequence share: copies, windows of steps, remembered steps.
 *
 * A row's valid steps are those of the row alone, cut to its length: a layer computes them from the
 * valid steps of its input, and hands on zeros beyond them. */
#ifndef LSTMC_STEPS_H
#define LSTMC_STEPS_H

#include "layers.h"

/* Steps [from, to) of row b become zero. */
static inline void lstmc_zero_steps(const lstmc_view *y, uint32_t features, uint32_t b,
                                    uint32_t from, uint32_t to) {
    for (uint32_t t = from; t < to; t++) {
        float *at = lstmc_at(y, b, t);
        for (uint32_t i = 0; i < features; i++) at[i] = 0.0f;
    }
}

/* steps steps of features floats, flushed, stride floats apart on either side. */
void lstmc_copy_steps(const lstmc_node *node, const float *x, size_t x_stride, float *y,
                      size_t y_stride, uint32_t features, uint32_t steps);

/* PadTime: the step of n that stands at place t of a sequence with `before` steps in front. */
enum { LSTMC_PAD_CONSTANT, LSTMC_PAD_REFLECT, LSTMC_PAD_EDGE, LSTMC_PAD_COUNT };
uint32_t lstmc_pad_shown(uint32_t mode, uint32_t before, uint32_t t, uint32_t n);

/* ReduceTime counts steps in two floats, count[0] below this and count[1] times this: exact for 2^48. */
#define LSTMC_COUNT_UNIT 16777216.0f

/* A window of taps steps, dilation apart, that moves by stride over a sequence and its padding. */
typedef struct lstmc_window {
    uint32_t taps, stride, dilation;
    uint32_t before, after; /* steps of padding */
    uint32_t same;          /* LSTMC_SAME_...: they follow from the number of steps instead */
    uint32_t extent;        /* steps from its first to its last */
    uint32_t history;       /* steps that a causal layer remembers, extent - 1; 0 if it is not */
    uint32_t features;      /* of each step */
} lstmc_window;

enum { LSTMC_SAME_NO, LSTMC_SAME_UPPER, LSTMC_SAME_LOWER, LSTMC_SAME_COUNT };
enum { LSTMC_WINDOW_PARAMS = 6 };

/* Read a window from the first parameter words of a layer whose input is a sequence: LSTMC_OK,
 * LSTMC_E_INVALID or LSTMC_E_UNSUPPORTED. */
int lstmc_window_get(const lstmc_layer *l, lstmc_window *w);

/* The same from any words, for a window over places of so many features each, at least one. */
int lstmc_window_read(const uint32_t *params, uint32_t features, lstmc_window *w);

/* ops->whole of a layer with a window. */
int lstmc_window_whole(const lstmc_layer *l);

/* The value with a step for each window. */
lstmc_value lstmc_window_steps(const lstmc_window *w, lstmc_value x);

/* The number of windows of a row with n valid steps, and the padding before it. A causal layer takes
 * what it remembers for padding. */
uint32_t lstmc_window_count(const lstmc_window *w, uint32_t n);
uint32_t lstmc_window_before(const lstmc_window *w, uint32_t n);

/* Of `count` windows of a row, those in [first, last) lie inside it, without padding; none: both 0. */
void lstmc_window_inside(const lstmc_window *w, uint32_t n, uint32_t count, uint32_t *first,
                         uint32_t *last);

/* The taps of a window that starts at place start which lie in [from, to): the first and their number. */
uint32_t lstmc_window_taps(const lstmc_window *w, int64_t start, int64_t from, int64_t to,
                           uint32_t *first);

/* With every dilation-th place one after another, a window's taps are neighbours. In such a strip
 * window t + phases starts hop places after window t. */
void lstmc_window_phases(const lstmc_window *w, uint32_t *phases, uint32_t *hop);

/* The memory of a causal layer, [history][features], after n more steps of row b. */
void lstmc_window_remember(const lstmc_window *w, const lstmc_node *node, const lstmc_view *x,
                           uint32_t b, uint32_t n, float *memory);

/* That memory as a state, where it is the first thing in the layer's. */
void lstmc_window_past(const lstmc_window *w, const lstmc_node *node, lstmc_state_view *view);

#endif
