/* For the C tests: a model file in memory, its golden sample, runs of it. Nothing here frees: the
 * programs end soon. */
#ifndef MODEL_FILE_H
#define MODEL_FILE_H

#include "lstmc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* malloc's alignment is the least that arenas may have: 16, but on Arm with newlib. */
#ifdef __NEWLIB__
#include <malloc.h>
#define MALLOC(size) memalign(16, size)
#else
#define MALLOC(size) malloc(size)
#endif

/* Memory of exactly size bytes, so that a sanitizer sees one byte too far; for free(). */
static inline void *get_memory(size_t size) {
    void *p = MALLOC(size ? size : 1);
    if (!p) {
        fprintf(stderr, "out of memory: %lu bytes\n", (unsigned long)size);
        exit(2);
    }
    return p;
}

/* The file's bytes. */
static inline void *read_bytes(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) {
        fprintf(stderr, "%s: can't be read\n", path);
        exit(2);
    }
    const long length = ftell(f);
    rewind(f);
    *size = length < 0 ? 0 : (size_t)length;
    void *data = get_memory(*size);
    if (fread(data, 1, *size, f) != *size) {
        fprintf(stderr, "%s: can't be read\n", path);
        exit(2);
    }
    fclose(f);
    return data;
}

/* A model file in the byte order of the machine; what is no model stays as it is, for
 * lstmc_model_open to refuse. */
static inline void *read_file(const char *path, size_t *size) {
    void *data = read_bytes(path, size);
    lstmc_blob_to_native(data, *size);
    return data;
}

static inline const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* An input or output as a whole: rows times its own steps, dense, in the order of the model's axes. */
typedef struct io_array {
    lstmc_io_info info;
    float *data;
    size_t floats, batch_stride, time_stride;
} io_array;

static inline void lay_out_array(io_array *a, uint32_t batch, uint32_t time) {
    size_t stride = a->info.features;
    a->batch_stride = a->time_stride = 0;
    for (uint32_t d = a->info.rank; d-- > 0;) {
        if (a->info.dims[d] == LSTMC_BATCH) {
            a->batch_stride = stride;
            stride *= batch;
        } else if (a->info.dims[d] > LSTMC_TIME - 256) { /* of any clock */
            a->time_stride = stride;
            stride *= time;
        }
    }
    a->floats = stride;
}

/* The inputs (golden sample) and outputs of a model. */
typedef struct sample {
    io_array *all; /* inputs, then outputs */
    uint32_t inputs, outputs;
    uint32_t batch, time;
} sample;

static inline int open_sample(sample *s, const lstmc_model *m) {
    s->inputs = m->input_count;
    s->outputs = m->output_count;
    lstmc_model_golden(m, &s->batch, &s->time);
    s->all = (io_array *)get_memory((s->inputs + s->outputs) * sizeof *s->all);
    for (uint32_t i = 0; i < s->inputs + s->outputs; i++) {
        io_array *a = s->all + i;
        if (lstmc_model_io(m, i, &a->info)) return 0;
        lay_out_array(a, s->batch, lstmc_model_steps(m, i, s->time));
        a->data = (float *)get_memory(a->floats * sizeof(float));
        if (i < s->inputs) {
            if (!a->info.golden) return 0;
            memcpy(a->data, a->info.golden, a->floats * sizeof(float));
        }
    }
    return 1;
}

static inline void clear_outputs(sample *s) {
    for (uint32_t i = s->inputs; i < s->inputs + s->outputs; i++) {
        memset(s->all[i].data, 0xa5, s->all[i].floats * sizeof(float));
    }
}

/* Run rows [b0, b0 + rows) of the sample through steps [t0, t0 + steps). */
static inline int run_part(lstmc_session *session, sample *s, uint32_t b0, uint32_t rows,
                           uint32_t t0, uint32_t steps, const int32_t *lengths) {
    lstmc_array arrays[64];
    memset(arrays, 0, sizeof arrays);
    if (s->inputs + s->outputs > 64) return LSTMC_E_ARGUMENT;
    for (uint32_t i = 0; i < s->inputs + s->outputs; i++) {
        const io_array *a = s->all + i;
        arrays[i].data = a->data + b0 * a->batch_stride + t0 * a->time_stride;
        arrays[i].batch_stride = a->batch_stride;
        arrays[i].time_stride = a->time_stride;
    }
    return lstmc_run(session, arrays, arrays + s->inputs, rows, steps, lengths);
}

/* The digests of all outputs as one number. */
static inline uint32_t digest_outputs(const sample *s) {
    uint32_t crc = 0;
    for (uint32_t i = s->inputs; i < s->inputs + s->outputs; i++) {
        crc = lstmc_digest(crc, s->all[i].data, s->all[i].floats);
    }
    return crc;
}

/* Whether every output has the digest that the file says. */
static inline int outputs_are_golden(const sample *s) {
    for (uint32_t i = s->inputs; i < s->inputs + s->outputs; i++) {
        const io_array *a = s->all + i;
        if (lstmc_digest(0, a->data, a->floats) != a->info.golden_digest) return 0;
    }
    return 1;
}

/* A session in an arena of exactly the size it asks for, filled with junk. */
static inline lstmc_session *make_session(const lstmc_model *m, uint32_t batch, uint32_t time,
                                          lstmc_target target, int *status) {
    lstmc_config config = {0};
    lstmc_session *session = NULL;
    size_t size = 0;
    config.batch = batch;
    config.time = time;
    config.target = target;
    *status = lstmc_arena_size(&size, m, &config);
    if (*status) return NULL;
    void *arena = get_memory(size);
    memset(arena, 0xff, size);
    *status = lstmc_session_init(&session, m, &config, arena, size);
    return *status ? NULL : session;
}

#endif
