/* Restep: the numbers of a sequence, step after step, as steps of another size.
 *
 * y[t][i] is number t F + i of x's; params: F, count. As many steps as a second input has, or count.
 * A call in which x has not just as many numbers is refused; a shorter row gives what it has. */
#include "steps.h"

typedef struct restep {
    uint32_t x, y;           /* value ids */
    uint32_t from, to, each; /* features, and a divisor of both: what is copied at once */
} restep;

/* Whether x's numbers are those of y, which has `made` steps. */
static int equal(const lstmc_layer *l, uint32_t steps, uint32_t made) {
    const uint32_t from = lstmc_value_get(l->model, l->inputs[0]).features;
    return (uint64_t)from * steps == (uint64_t)l->params[0] * made;
}

static int restep_check(const lstmc_layer *l) {
    if (!l->input_count || l->input_count > 2 || l->output_count != 1 || l->tensor_count ||
        l->param_count != 2) {
        return LSTMC_E_INVALID;
    }
    const lstmc_value x = lstmc_value_get(l->model, l->inputs[0]);
    const uint32_t like = lstmc_input(l, 1), features = l->params[0], count = l->params[1];
    if (!x.has_time || !features || features > LSTMC_MAX_SIZE || count > LSTMC_MAX_SIZE ||
        (like == LSTMC_NONE) != (count > 0)) {
        return LSTMC_E_INVALID;
    }
    lstmc_value made = {features, 1, LSTMC_NONE, (int32_t)count, 1};
    if (like != LSTMC_NONE) made = lstmc_with_features(lstmc_value_get(l->model, like), features);
    if (!made.has_time || !lstmc_layer_output(l, 0, made)) return LSTMC_E_INVALID;
    if (x.clock != LSTMC_NONE || made.clock != LSTMC_NONE) return LSTMC_OK;
    return equal(l, (uint32_t)x.add, (uint32_t)made.add) ? LSTMC_OK : LSTMC_E_INVALID;
}

static int fits(const lstmc_layer *l, const uint32_t *steps) {
    const uint32_t like = lstmc_input(l, 1);
    return equal(l, steps[l->inputs[0]], like == LSTMC_NONE ? l->params[1] : steps[like]);
}

static void restep_prepare(const lstmc_layer *l, void *prepared) {
    restep *p = (restep *)prepared;
    p->x = l->inputs[0];
    p->y = l->outputs[0];
    p->from = lstmc_value_get(l->model, p->x).features;
    p->to = l->params[0];
    uint32_t rest = p->to;
    p->each = p->from;
    while (rest) { /* Euclid's algorithm */
        const uint32_t next = p->each % rest;
        p->each = rest;
        rest = next;
    }
}

static int restep_yes(const lstmc_layer *l) {
    (void)l;
    return 1;
}

static void restep_run(lstmc_node *node, const lstmc_call *call) {
    const restep *p = (const restep *)node->prepared;
    if (p->y == LSTMC_NONE) return;
    const lstmc_view *x = call->views + p->x, *y = call->views + p->y;
    const uint32_t steps = lstmc_steps(call, p->y);
    for (uint32_t b = 0; b < lstmc_batch(call); b++) {
        const uint64_t numbers = (uint64_t)lstmc_row_steps(call, p->x, b) * p->from;
        const uint32_t most = lstmc_row_steps(call, p->y, b);
        const uint32_t whole = numbers / p->to < most ? (uint32_t)(numbers / p->to) : most;
        uint32_t t = 0, i = 0; /* where in x the next numbers are */
        for (uint32_t s = 0; s < whole; s++) {
            for (uint32_t j = 0; j < p->to; j += p->each) {
                LSTMC_KERNEL(node->full, map, &lstmc_linear, 1, lstmc_at(x, b, t) + i,
                             lstmc_at(y, b, s) + j, p->each);
                i += p->each;
                if (i == p->from) {
                    i = 0;
                    t++;
                }
            }
        }
        lstmc_zero_steps(y, p->to, b, whole, steps);
    }
}

const lstmc_layer_ops lstmc_layer_restep = {
    .code = 31,
    .prepared_size = sizeof(restep),
    .check = restep_check,
    .prepare = restep_prepare,
    .plan = lstmc_plan_nothing,
    .run = restep_run,
    .fits = fits,
    .whole = restep_yes,
};
