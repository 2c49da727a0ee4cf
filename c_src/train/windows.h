/* Windows, seen from either side: which outputs a tap has a place for, and which taps see a place. */
#ifndef LSTMC_TRAIN_WINDOWS_H
#define LSTMC_TRAIN_WINDOWS_H

#include "../layers/steps.h"

/* One of the two axes that a window goes over: output t's tap j is at place t * stride + j * dilation -
 * before, if that is one of `places`. */
typedef struct lstmc_axis {
    uint32_t taps, stride, dilation;
    uint32_t before;
    uint32_t places, made; /* of x and of y */
    uint32_t phases, hop;  /* of taps that see one place: hop taps on is phases outputs back */
    size_t x_stride, y_stride;
} lstmc_axis;

static inline lstmc_axis lstmc_axis_get(const lstmc_window *w, uint32_t places, uint32_t made,
                                        size_t x_stride, size_t y_stride) {
    lstmc_axis a;
    a.taps = w->taps;
    a.stride = w->stride;
    a.dilation = w->dilation;
    a.before = lstmc_window_before(w, places);
    a.places = places;
    a.made = made;
    lstmc_window_phases(w, &a.phases, &a.hop);
    a.x_stride = x_stride;
    a.y_stride = y_stride;
    return a;
}

/* An axis of one place that a window of one tap goes over. */
static inline lstmc_axis lstmc_axis_none(void) {
    const lstmc_axis a = {1, 1, 1, 0, 1, 1, 1, 1, 0, 0};
    return a;
}

/* Things from `from` on, `count` of them. */
typedef struct lstmc_run_of {
    uint32_t from, count;
} lstmc_run_of;

/* The outputs that have a place under tap j. */
static inline lstmc_run_of lstmc_axis_outputs(const lstmc_axis *a, uint32_t j) {
    const int64_t at = (int64_t)j * a->dilation - a->before; /* of output 0 */
    const int64_t from = at < 0 ? (-at + a->stride - 1) / a->stride : 0;
    const int64_t last = (int64_t)a->places - 1 - at;
    int64_t end = last < 0 ? 0 : last / a->stride + 1;
    if (end > a->made) end = a->made;
    const lstmc_run_of r = {(uint32_t)from, end > from ? (uint32_t)(end - from) : 0};
    return r;
}

/* The place of output t's tap j, which is there. */
static inline size_t lstmc_axis_place(const lstmc_axis *a, uint32_t t, uint32_t j) {
    return (size_t)t * a->stride + (size_t)j * a->dilation - a->before;
}

/* The taps that see a place: tap, tap + hop, ..., of outputs output, output - phases, ... */
typedef struct lstmc_seen_by {
    uint32_t tap, output;
    uint32_t count;
} lstmc_seen_by;

static inline lstmc_seen_by lstmc_axis_seen(const lstmc_axis *a, uint32_t place) {
    lstmc_seen_by s = {0, 0, 0};
    const uint64_t at = (uint64_t)place + a->before;
    for (uint32_t j = 0; j < a->hop && j < a->taps; j++) {
        const uint64_t back = (uint64_t)j * a->dilation;
        if (back > at) break;
        if ((at - back) % a->stride) continue;
        const uint64_t t = (at - back) / a->stride;
        const uint64_t skip = t < a->made ? 0 : (t - a->made) / a->phases + 1;
        const uint64_t tap = j + skip * a->hop;
        if (tap >= a->taps || t < skip * a->phases) break;
        s.tap = (uint32_t)tap;
        s.output = (uint32_t)(t - skip * a->phases);
        s.count = (a->taps - 1 - s.tap) / a->hop + 1;
        if (s.output / a->phases + 1 < s.count) s.count = s.output / a->phases + 1;
        break;
    }
    return s;
}

#endif
