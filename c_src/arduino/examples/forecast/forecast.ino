// A model on a 32-bit board, with the same bits as on the computer that converted it.
//
// setup() runs the model's golden sample, one step at a time, and compares the digest with the one
// that the file carries. loop() goes on stepping and says how long a step takes.
//
// model.h is an .lstmc file as an array. `layout.py MODEL.lstmc` of lstmc's c_src/arduino writes it
// for another model; this sketch takes one with one input and one output.
#include <lstmc.h>

#include "model.h"

alignas(64) static uint8_t arena[8 * 1024]; // `lstmc info` says how much a model needs
static float output[64];                    // floats a step at least

static lstmc_model model;
static lstmc_session *session;
static lstmc_io_info in, out;

static void stop(const char *why) {
    Serial.println(why);
    for (;;) delay(1000);
}

static void step(const float *x) {
    lstmc_array from = lstmc_array(), to = lstmc_array();
    from.data = const_cast<float *>(x); // only read
    to.data = output;
    const int status = lstmc_run(session, &from, &to, 1, 1, nullptr);
    if (status) stop(lstmc_status_text(status));
}

// The digest of what the golden sample gives, row by row and step by step.
static uint32_t run_golden_sample() {
    uint32_t batch, time, digest = 0;
    lstmc_model_golden(&model, &batch, &time);
    const uint32_t steps = lstmc_model_steps(&model, 0, time);
    for (uint32_t row = 0; row < batch; row++) {
        lstmc_reset(session);
        for (uint32_t t = 0; t < steps; t++) {
            step(in.golden + (row * steps + t) * in.features);
            if (out.has_time || t + 1 == steps) digest = lstmc_digest(digest, output, out.features);
        }
    }
    return digest;
}

void setup() {
    Serial.begin(115200);
    const lstmc_config config = lstmc_config(); // one row, one step at a time
    int status = lstmc_model_open(&model, model_blob, sizeof model_blob);
    if (!status) status = lstmc_session_init(&session, &model, &config, arena, sizeof arena);
    if (status) stop(lstmc_status_text(status));
    lstmc_model_io(&model, 0, &in);
    lstmc_model_io(&model, 1, &out);
    if (!in.golden || out.features * sizeof *output > sizeof output) stop("not for this sketch");

    const uint32_t digest = run_golden_sample();
    Serial.print("digest ");
    Serial.println(digest, HEX);
    if (digest != out.golden_digest) stop("not the bits of the computer");
}

void loop() {
    const unsigned long start = micros();
    step(in.golden);
    const unsigned long taken = micros() - start;
    Serial.print(output[0], 6);
    Serial.print(" in microseconds: ");
    Serial.println(taken);
    delay(1000);
}
