/* Tomorrow's maximum temperature in Seattle, forecast on a microcontroller.
 *
 * forecaster.h is what `lstmc export` wrote, days.h what forecast.py did: some real days. */
#include "board.h"
#include "days.h"
#include "forecaster.h"

int main(void) {
    const uint32_t scale = timer_scale();
    uint32_t crc = 0, ticks = 0;

    /* Does this compiler, this FPU, this memory compute what the computer did at export? */
    if (say_selftest(forecaster_selftest(), FORECASTER_GOLDEN_DIGEST)) return 1;

    say("day         forecast   was   bits of the output\n");
    for (int day = 0; day < FORECASTS; day++) {
        float y = 0;
        forecaster_reset();
        timer_start();
        for (int step = 0; step < WINDOW; step++) forecaster_step(features[day + step], &y);
        ticks += timer_ticks();

        crc = digest(crc, y);
        say(dates[day]);
        say_fixed(today[day] + y * DEGREES, 1, 10);
        say_fixed(truth[day], 1, 6);
        say("   ");
        say_hex(bits_of(y));
        say("\n");
    }
    say("\ndigest       ");
    say_hex(crc);
    say("\ninstructions ");
    say_number((uint32_t)((uint64_t)ticks * scale / 256 / (FORECASTS * WINDOW)), 0);
    say(" a step\nstack        ");
    say_number(stack_used(), 0);
    say(" bytes\n");
    return 0;
}
