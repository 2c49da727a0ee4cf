/* A weather forecaster that learns on a microcontroller. Its station was moved onto a roof, where the
 * sun makes the days hotter than the model knows them; day after day it learns from what came true.
 *
 * forecaster.h is what `lstmc export --train` wrote, days.h what adapt.py did. */
#include "board.h"
#include "days.h"
#include "forecaster.h"

static uint32_t saved[FORECASTER_SAVED_WORDS]; /* on hardware, a sector of flash */

/* The mean error of the last days, none of which has been learned from, in degrees. */
static float mean_error(uint32_t *crc) {
    float sum = 0;
    for (int day = LEARN; day < LEARN + TEST; day++) {
        float y = 0;
        forecaster_reset();
        for (int step = 0; step < FORECASTER_TRAIN_TIME; step++) {
            forecaster_step(features[day + step], &y);
        }
        const float error = (y - change[day]) * DEGREES;
        sum += error < 0 ? -error : error;
        *crc = digest(*crc, y);
    }
    return sum / TEST;
}

static void say_error(const char *when) {
    uint32_t crc = 0;
    const float error = mean_error(&crc);
    say("error ");
    say(when);
    say_fixed(error, 2, 8);
    say(" degrees C\nforecasts ");
    say(when);
    say(" ");
    say_hex(crc);
    say("\n");
}

int main(void) {
    const uint32_t scale = timer_scale();
    uint64_t ticks = 0;
    uint32_t crc = 0, updates = 0;

    forecaster_reset_weights();
    if (say_selftest(forecaster_selftest(), FORECASTER_GOLDEN_DIGEST)) return 1;
    say_error("before");

    for (int day = 0; day < LEARN; day++) {
        timer_start();
        const float loss = forecaster_train(features[day], &change[day]);
        if ((day + 1) % FORECASTER_TRAIN_BATCH == 0) {
            if (loss - loss != 0) { /* not finite: learn nothing from these days */
                forecaster_forget_gradients();
            } else if (forecaster_update(FORECASTER_LEARNING_RATE) == 0) {
                updates++;
            }
        }
        ticks += timer_ticks();
        crc = digest(crc, loss);
    }
    say_error("after ");

    /* As before a power cut, and after it. */
    forecaster_weights_save(saved);
    forecaster_reset_weights();
    if (forecaster_weights_load(saved)) return 2;

    say("\nsequences    ");
    say_number(LEARN, 0);
    say(", updates ");
    say_number(updates, 0);
    say("\ninstructions ");
    say_number((uint32_t)(ticks * scale / 256 / LEARN), 0);
    say(" a sequence of ");
    say_number(FORECASTER_TRAIN_TIME, 0);
    say(" days\nRAM          ");
    say_number(FORECASTER_ARENA_BYTES, 0);
    say(" bytes, of which training ");
    say_number(FORECASTER_TRAIN_BYTES, 0);
    say("\nstack        ");
    say_number(stack_used(), 0);
    say(" bytes\nlosses       ");
    say_hex(crc);
    say("\nweights      ");
    say_hex(saved[FORECASTER_SAVED_WORDS - 1]);
    say("\n");
    return 0;
}
