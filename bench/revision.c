/* A model run by one revision of the core, through its own lstmc.h: see against.py. */
#include "lstmc.h"

#include <stdlib.h>

typedef struct runner {
    lstmc_model model;
    lstmc_session *session;
    void *arena;
} runner;

/* NULL if anything fails. */
void *runner_open(const void *blob, size_t size, uint32_t batch, uint32_t time) {
    runner *r = (runner *)calloc(1, sizeof *r);
    lstmc_config config = {0};
    size_t need = 0;
    config.batch = batch;
    config.time = time;
    if (!r || lstmc_model_open(&r->model, blob, size) ||
        lstmc_arena_size(&need, &r->model, &config)) {
        return NULL;
    }
    r->arena = aligned_alloc(64, (need + 63) / 64 * 64);
    if (!r->arena || lstmc_session_init(&r->session, &r->model, &config, r->arena, need))
        return NULL;
    return r;
}

/* `times` calls; 0 if all went well. */
int runner_run(void *runner_, float *x, float *y, uint32_t batch, uint32_t time, int times) {
    runner *r = (runner *)runner_;
    lstmc_array in = {0}, out = {0};
    int status = 0;
    in.data = x;
    out.data = y;
    for (int i = 0; i < times; i++) {
        status |= lstmc_run(r->session, &in, &out, batch, time, NULL);
    }
    return status;
}
