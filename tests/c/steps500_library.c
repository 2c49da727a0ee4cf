/* Nets that the library reads, one at a time in one arena. LSTMC_TARGET in the environment chooses the
 * kernels where there is one; otherwise they are the best. A failure ends as a digest that can't be
 * right: the status.
 *
 * -DARENA_BYTES: boards have little memory, 6 KiB do for all nets. */
#include "steps500_library.h"

#include "lstmc.h"

#include <string.h>
#ifndef BARE
#include <stdlib.h>
#endif

#ifndef ARENA_BYTES
#define ARENA_BYTES 65536
#endif

static unsigned char arena[ARENA_BYTES] __attribute__((aligned(64)));
static lstmc_model model;
static lstmc_session *session;
static const void *current;
static int status;

static lstmc_target chosen_target(void) {
#ifndef BARE
    const char *name = getenv("LSTMC_TARGET");
    for (int t = 0; name && t < LSTMC_TARGET_COUNT; t++) {
        if (strcmp(lstmc_target_name((lstmc_target)t), name) == 0) return (lstmc_target)t;
    }
#endif
    return LSTMC_TARGET_AUTO;
}

/* A file is little-endian: on other machines it is copied and converted first. */
static const void *native(const void *blob, size_t size) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    static uint32_t copy[4096];
    if (size > sizeof copy) return blob;
    memcpy(copy, blob, size);
    status = lstmc_blob_to_native(copy, size);
    return copy;
#else
    (void)size;
    return blob;
#endif
}

static void open_net(const void *blob, size_t size) {
    lstmc_config config = {0, 0, LSTMC_TARGET_AUTO, NULL, 0, 0};
    config.target = chosen_target();
    current = blob;
    status = LSTMC_OK;
    const void *words = native(blob, size);
    if (!status) status = lstmc_model_open(&model, words, size);
    if (!status) status = lstmc_session_init(&session, &model, &config, arena, sizeof arena);
}

void library_reset(const void *blob, size_t size) {
    if (current != blob) {
        open_net(blob, size);
    } else if (!status) {
        lstmc_reset(session);
    }
}

void library_step(const float *x, float *y) {
    lstmc_array in, out;
    memset(&in, 0, sizeof in);
    memset(&out, 0, sizeof out);
    union {
        const float *from;
        void *to;
    } constant;
    constant.from = x; /* only read */
    in.data = constant.to;
    out.data = y;
    if (!status) status = lstmc_run(session, &in, &out, 1, 1, NULL);
    if (status) memcpy(y, &status, sizeof status);
}

uint32_t library_selftest(const void *blob, size_t size) {
    lstmc_io_info in, out;
    uint32_t batch, time, crc = 0;
    float y[16];
    open_net(blob, size);
    if (!status) status = lstmc_model_io(&model, 0, &in);
    if (!status) status = lstmc_model_io(&model, 1, &out);
    if (status || out.features > 16) return (uint32_t)status;
    lstmc_model_golden(&model, &batch, &time);
    for (uint32_t t = 0; t < time; t++) {
        library_step(in.golden + t * in.features, y);
        crc = lstmc_digest(crc, y, out.features);
    }
    return status ? (uint32_t)status : crc;
}
