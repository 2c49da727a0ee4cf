/* Parts of a call, by rows: parallel.h. A part is a call of its own, on some of the session's rows:
 * their views, their states, and a share of the scratch memory. */
#include "parallel.h"

#include <string.h>

#ifdef LSTMC_HAVE_THREADS

/* A part must be worth so many in a step: a thread may have to be woken for it. */
#define GRAINS 5.0f

#define ALIGN 16u /* floats */

size_t lstmc_rows_scratch(const lstmc_model *m, const lstmc_parallel *parallel, uint32_t batch,
                          uint32_t time) {
    const uint32_t parts = lstmc_rows_most(parallel, batch);
    size_t all = 0;
    for (uint32_t n = 2; n <= parts; n++) {
        size_t one = 0;
        for (uint32_t i = 0; i < m->layer_count; i++) {
            lstmc_layer l;
            lstmc_need need = {0, 0, 0, 0.0f};
            lstmc_layer_get(m, i, &l);
            lstmc_layer_find(l.code)->plan(&l, (batch - 1) / n + 1, time, &need);
            const size_t floats = lstmc_size_add(need.scratch, need.each);
            if (floats > one) one = floats;
        }
        one = lstmc_size_mul(lstmc_size_add(one, ALIGN - 1) / ALIGN * ALIGN, n);
        if (one > all) all = one;
    }
    return all;
}

uint32_t lstmc_rows_parts(const lstmc_rows *rows, const lstmc_call *call, uint32_t time) {
    const uint32_t most = lstmc_rows_most(call->parallel, call->batch);
    if (most < 2) return 1;
    const float steps = (float)time / (float)call->max_time;
    const float work = rows->work * (float)call->batch * steps;
    const float parts = work / (GRAINS * lstmc_grain(call->parallel));
    return parts >= (float)most ? most : parts < 2.0f ? 1 : (uint32_t)parts;
}

typedef struct rows_frame {
    const lstmc_rows *rows;
    const lstmc_call *call;
    const lstmc_node *nodes;
    uint32_t parts;
} rows_frame;

static void rows_part(void *argument, uint32_t part) {
    const rows_frame *f = (const rows_frame *)argument;
    const lstmc_model *m = f->call->model;
    const uint32_t start = lstmc_part_start(f->call->batch, f->parts, part);
    const uint32_t end = lstmc_part_start(f->call->batch, f->parts, part + 1);
    lstmc_call call = *f->call;
    lstmc_node *nodes = f->rows->nodes + (size_t)part * m->layer_count;
    memcpy(nodes, f->nodes, m->layer_count * sizeof *nodes);
    for (uint32_t i = 0; i < m->layer_count; i++) nodes[i].state += start * nodes[i].state_stride;

    call.parallel = NULL; /* a part has one thread */
    call.batch = end - start;
    if (part + 1 < f->parts) call.idle = 0; /* those behind are the last part's */
    call.max_batch = (f->call->max_batch - 1) / f->parts + 1;
    call.scratch += f->rows->scratch / f->parts / ALIGN * ALIGN * part;
    if (call.lengths) call.lengths += start;
    call.views = f->rows->views + (size_t)part * m->value_count;
    for (uint32_t i = 0; i < m->value_count; i++) {
        lstmc_view *v = call.views + i;
        *v = f->call->views[i];
        if (f->rows->places[i] == SIZE_MAX) {
            v->data += start * v->batch_stride; /* an input or output */
        } else {
            v->data = f->rows->region + start * f->rows->row_floats;
            v->data += f->rows->places[i] * call.batch;
        }
    }
    lstmc_run_layers(nodes, &call);
}

void lstmc_rows_run(const lstmc_rows *rows, const lstmc_call *call, lstmc_node *nodes,
                    uint32_t parts) {
    rows_frame f = {rows, call, nodes, parts};
    call->parallel->run(call->parallel->pool, parts, rows_part, &f);
    /* All parts have taken the same steps. */
    for (uint32_t i = 0; i < call->model->layer_count; i++) nodes[i].parity = rows->nodes[i].parity;
}

#else

typedef int lstmc_no_rows; /* a file must not be empty */

#endif
