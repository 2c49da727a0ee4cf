/* What layers on the steps of a sequence share. */
#include "steps.h"

#include <string.h>

void lstmc_copy_steps(const lstmc_node *node, const float *x, size_t x_stride, float *y,
                      size_t y_stride, uint32_t features, uint32_t steps) {
    if (x_stride == features && y_stride == features) {
        LSTMC_KERNEL(node->full, map, &lstmc_linear, 1, x, y, (size_t)features * steps);
        return;
    }
    for (uint32_t t = 0; t < steps; t++) {
        LSTMC_KERNEL(node->full, map, &lstmc_linear, 1, x + t * x_stride, y + t * y_stride,
                     features);
    }
}

/* A mirror shows another one behind it: to and fro, n - 1 steps each. */
uint32_t lstmc_pad_shown(uint32_t mode, uint32_t before, uint32_t t, uint32_t n) {
    const int64_t at = (int64_t)t - before;
    if (mode == LSTMC_PAD_EDGE || n == 1) {
        return at < 0 ? 0 : at < (int64_t)n ? (uint32_t)at : n - 1;
    }
    const uint64_t once = n - 1, away = at < 0 ? (uint64_t)-at : (uint64_t)at;
    const uint64_t place = away % (2 * once);
    return (uint32_t)(place <= once ? place : 2 * once - place);
}

int lstmc_window_get(const lstmc_layer *l, lstmc_window *w) {
    return lstmc_window_read(l->params, lstmc_value_get(l->model, l->inputs[0]).features, w);
}

int lstmc_window_read(const uint32_t *params, uint32_t features, lstmc_window *w) {
    w->taps = params[0];
    w->stride = params[1];
    w->dilation = params[2];
    w->before = params[3];
    w->after = params[4];
    w->same = params[5];
    w->features = features;
    if (w->same >= LSTMC_SAME_COUNT) return LSTMC_E_UNSUPPORTED;
    if (!w->taps || !w->stride || !w->dilation || w->taps > LSTMC_MAX_SIZE ||
        w->stride > LSTMC_MAX_SIZE || w->dilation > LSTMC_MAX_SIZE || w->before > LSTMC_MAX_SIZE ||
        w->after > LSTMC_MAX_SIZE || (w->same && (w->before || w->after))) {
        return LSTMC_E_INVALID;
    }
    const uint64_t extent = (uint64_t)(w->taps - 1) * w->dilation + 1;
    if (extent > LSTMC_MAX_SIZE / w->features) return LSTMC_E_INVALID;
    w->extent = (uint32_t)extent;
    const int causal = !w->same && w->before == extent - 1 && !w->after && w->stride == 1;
    w->history = causal ? w->before : 0;
    return LSTMC_OK;
}

int lstmc_window_whole(const lstmc_layer *l) {
    lstmc_window w;
    if (lstmc_window_get(l, &w) != LSTMC_OK) return 1;
    return w.same || w.before != w.extent - 1 || w.after || w.stride != 1;
}

lstmc_value lstmc_window_steps(const lstmc_window *w, lstmc_value x) {
    if (w->same) return lstmc_steps_then(x, (int64_t)w->stride - 1, w->stride);
    const int64_t add = (int64_t)w->before + w->after - w->extent + w->stride;
    return lstmc_steps_then(x, add, w->stride);
}

uint32_t lstmc_window_count(const lstmc_window *w, uint32_t n) {
    if (w->same) return n / w->stride + (n % w->stride != 0);
    const uint64_t padded = (uint64_t)n + w->before + w->after;
    return padded < w->extent ? 0 : (uint32_t)((padded - w->extent) / w->stride + 1);
}

uint32_t lstmc_window_before(const lstmc_window *w, uint32_t n) {
    const uint32_t count = lstmc_window_count(w, n);
    if (!w->same || !count) return w->before;
    const uint64_t need = (uint64_t)(count - 1) * w->stride + w->extent;
    const uint32_t total = need > n ? (uint32_t)(need - n) : 0; /* below stride + extent */
    return w->same == LSTMC_SAME_UPPER ? total / 2 : total - total / 2;
}

void lstmc_window_inside(const lstmc_window *w, uint32_t n, uint32_t count, uint32_t *first,
                         uint32_t *last) {
    *first = *last = 0;
    if (n < w->extent) return;
    const uint32_t before = lstmc_window_before(w, n);
    const uint32_t start = before / w->stride + (before % w->stride != 0);
    const uint64_t end = ((uint64_t)n - w->extent + before) / w->stride + 1;
    const uint32_t stop = end < count ? (uint32_t)end : count;
    if (stop <= start) return;
    *first = start;
    *last = stop;
}

uint32_t lstmc_window_taps(const lstmc_window *w, int64_t start, int64_t from, int64_t to,
                           uint32_t *first) {
    const int64_t skip = from > start ? (from - start - 1) / w->dilation + 1 : 0;
    const int64_t end = to > start ? (to - start - 1) / w->dilation + 1 : 0;
    const int64_t last = end < w->taps ? end : w->taps;
    *first = (uint32_t)skip;
    return last > skip ? (uint32_t)(last - skip) : 0;
}

void lstmc_window_phases(const lstmc_window *w, uint32_t *phases, uint32_t *hop) {
    uint32_t common = w->stride, other = w->dilation;
    while (other) {
        const uint32_t rest = common % other;
        common = other;
        other = rest;
    }
    *phases = w->dilation / common;
    *hop = w->stride / common;
}

void lstmc_window_remember(const lstmc_window *w, const lstmc_node *node, const lstmc_view *x,
                           uint32_t b, uint32_t n, float *memory) {
    const uint32_t keep = n < w->history ? w->history - n : 0;
    const uint32_t added = w->history - keep;
    if (!added) return;
    memmove(memory, memory + (size_t)added * w->features,
            (size_t)keep * w->features * sizeof *memory);
    lstmc_copy_steps(node, lstmc_at(x, b, n - added), x->time_stride,
                     memory + (size_t)keep * w->features, w->features, w->features, added);
}

void lstmc_window_past(const lstmc_window *w, const lstmc_node *node, lstmc_state_view *view) {
    view->name = "past";
    view->features = w->history * w->features;
    view->data = node->state;
    view->stride = node->state_stride;
}
