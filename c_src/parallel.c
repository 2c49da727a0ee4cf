/* Parts of a step, by panels of units: parallel.h. */
#include "parallel.h"
#include "kernels/fpenv.h"

#ifdef LSTMC_HAVE_THREADS

/* Fewer rows a part than this would leave a tile of rows half empty. */
#define PART_ROWS 12u

uint32_t lstmc_worthwhile_parts(const lstmc_call *call, float work, uint32_t count) {
    const uint32_t most = lstmc_most_parts(call->parallel);
    float parts = work / lstmc_grain(call->parallel);
    if (parts >= (float)most) parts = (float)most;
    if (parts >= (float)count) parts = (float)count;
    return parts < 2.0f ? 1 : (uint32_t)parts;
}

/* Another thread has a floating-point mode of its own. */
typedef struct job {
    void (*body)(void *argument, uint32_t part);
    void *argument;
} job;

static void job_part(void *argument, uint32_t part) {
    const job *j = (const job *)argument;
    const uint32_t mode = lstmc_fp_enter();
    j->body(j->argument, part);
    lstmc_fp_leave(mode);
}

void lstmc_run_parts(const lstmc_call *call, uint32_t parts,
                     void (*body)(void *argument, uint32_t part), void *argument) {
    job j = {body, argument};
    call->parallel->run(call->parallel->pool, parts, job_part, &j);
}

/* ------------------------------------------------------------------------------------ products -- */

typedef struct product {
    const lstmc_matmul_args *args;
    const lstmc_kernels *kernels;
    uint32_t parts, by_rows;
} product;

static void product_part(void *argument, uint32_t part) {
    const product *p = (const product *)argument;
    lstmc_matmul_args a = *p->args;
    if (p->by_rows) {
        const uint32_t start = lstmc_part_start(a.rows, p->parts, part);
        a.rows = lstmc_part_start(a.rows, p->parts, part + 1) - start;
        a.x += start * a.x_stride;
        a.y += start * a.y_stride;
        a.init += start * a.init_stride;
    } else {
        const uint32_t panels = (a.columns - 1) / a.panel + 1;
        const uint32_t start = lstmc_part_start(panels, p->parts, part) * a.panel;
        const uint32_t end = lstmc_part_start(panels, p->parts, part + 1) * a.panel;
        a.columns = (end < a.columns ? end : a.columns) - start;
        a.w += (size_t)start * a.k;
        a.y += start;
        a.init += start;
    }
    p->kernels->matmul(&a);
}

void lstmc_shared_matmul(const lstmc_call *call, const lstmc_kernels *kernels,
                         const lstmc_matmul_args *args) {
    const float work = (float)args->rows * (float)args->columns * (float)args->k;
    const uint32_t by_rows = lstmc_parts(call, work, args->rows / PART_ROWS);
    product p = {args, kernels, by_rows, 1};
    if (by_rows < 2) {
        p.by_rows = 0;
        p.parts = lstmc_parts(call, work, (args->columns - 1) / args->panel + 1);
    }
    if (p.parts < 2) {
        kernels->matmul(args);
    } else {
        lstmc_for_parts(call, p.parts, product_part, &p);
    }
}

#else

typedef int lstmc_no_parts; /* a file must not be empty */

#endif
