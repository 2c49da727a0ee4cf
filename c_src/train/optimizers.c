/* Steps of an optimizer over all weights that are trained. */
#include "trainer.h"
#include "../kernels/fpenv.h"
#include "../kernels/soft_fma.h"

uint32_t lstmc_optimizer_slots(const lstmc_optimizer *optimizer) {
    (void)optimizer;
    return 0;
}

int lstmc_train_update(lstmc_trainer *trainer, const lstmc_optimizer *optimizer) {
    if (!trainer || !optimizer) return LSTMC_E_ARGUMENT;
    if (optimizer->kind != LSTMC_OPTIMIZER_SGD || optimizer->momentum != 0.0f)
        return LSTMC_E_UNSUPPORTED;
    const uint32_t mode = lstmc_fp_enter();
    for (size_t i = 0; i < trainer->weight_floats; i++) {
        trainer->weights[i] = lstmc_flush(lstmc_fmaf(
            -optimizer->learning_rate, trainer->weight_gradients[i], trainer->weights[i]));
    }
    lstmc_fp_leave(mode);
    lstmc_train_clear(trainer);
    trainer->optimizer.steps++;
    trainer->stale = 1;
    return LSTMC_OK;
}
