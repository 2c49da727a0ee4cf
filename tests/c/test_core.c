/* test_core DIRECTORY [MODEL...]: the C interface, function by function, with the files v1_*.lstmc
 * of the directory, and runs of other models. Prints what fails; status 1 then. */
#include "model_file.h"

#include <math.h>

static int checks, failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        checks++;                                                                                  \
        if (!(condition)) {                                                                        \
            failures++;                                                                            \
            printf("%s:%d: %s\n", base_name(__FILE__), __LINE__, #condition);                      \
        }                                                                                          \
    } while (0)

#define GUARD 128u

static const char *directory;

static unsigned char *read_raw(const char *name, size_t *size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/v1_%s.lstmc", directory, name);
    return (unsigned char *)read_bytes(strchr(name, '/') ? name : path, size);
}

static void *read_model(const char *name, size_t *size) {
    void *blob = read_raw(name, size);
    CHECK(lstmc_blob_to_native(blob, *size) == LSTMC_OK);
    return blob;
}

static void open_model(lstmc_model *m, sample *s, const char *name) {
    size_t size;
    const void *blob = read_model(name, &size);
    CHECK(lstmc_model_open(m, blob, size) == LSTMC_OK);
    CHECK(open_sample(s, m));
}

static const lstmc_config automatic = {0, 0, LSTMC_TARGET_AUTO, NULL, 0, 0};

/* Whether the memory still holds the byte everywhere. */
static int untouched(const unsigned char *p, size_t n, unsigned char byte) {
    for (size_t i = 0; i < n; i++) {
        if (p[i] != byte) return 0;
    }
    return 1;
}

/* ------------------------------------------------------------------------------------ models -- */

static void test_texts(void) {
    for (int status = LSTMC_E_SHAPE - 2; status <= 2; status++) {
        const char *text = lstmc_status_text(status);
        CHECK(text && *text);
        for (int other = LSTMC_E_SHAPE; other < status && status <= 0; other++) {
            CHECK(strcmp(text, lstmc_status_text(other)) != 0);
        }
    }
    CHECK(!strcmp(lstmc_target_name(LSTMC_TARGET_AUTO), "auto"));
    CHECK(!strcmp(lstmc_target_name(LSTMC_TARGET_SCALAR), "scalar"));
    CHECK(!lstmc_target_name(LSTMC_TARGET_COUNT));
    CHECK(!lstmc_target_name((lstmc_target)77));
    CHECK(lstmc_target_available(LSTMC_TARGET_SCALAR));
    CHECK(!lstmc_target_available(LSTMC_TARGET_COUNT));
    CHECK(!lstmc_target_available((lstmc_target)77));
}

/* Put a word into a file's bytes, and the checksum that it then has, made bit by bit. */
static void change_file(unsigned char *bytes, size_t size, size_t word, uint32_t value) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < 4; i++) bytes[4 * word + i] = (unsigned char)(value >> 8 * i & 0xffu);
    for (size_t i = 16; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1u ? 0xedb88320u : 0);
    }
    for (size_t i = 0; i < 4; i++) bytes[12 + i] = (unsigned char)(~crc >> 8 * i & 0xffu);
}

static void test_open(void) {
    lstmc_model m;
    size_t size;
    unsigned char *blob = (unsigned char *)read_model("lstm", &size);
    uint32_t *words = (uint32_t *)(void *)blob;
    CHECK(lstmc_model_open(NULL, blob, size) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_model_open(&m, NULL, size) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_model_open(&m, NULL, 0) == LSTMC_E_ARGUMENT);
    for (size_t n = 0; n < 8; n++) CHECK(lstmc_model_open(&m, blob, n) == LSTMC_E_MAGIC);
    for (size_t n = 8; n < size; n++) CHECK(lstmc_model_open(&m, blob, n) == LSTMC_E_TRUNCATED);
    CHECK(lstmc_model_open(&m, blob, size) == LSTMC_OK);

    unsigned char *room = (unsigned char *)get_memory(size + 64);
    for (size_t shift = 0; shift <= 16; shift++) {
        memcpy(room + shift, blob, size);
        const int status = lstmc_model_open(&m, room + shift, size);
        CHECK(status == (shift % 4 ? LSTMC_E_ALIGNMENT : LSTMC_OK));
    }
    memcpy(room, blob, size);
    memset(room + size, 0, 64);
    CHECK(lstmc_model_open(&m, room, size + 64) == LSTMC_E_INVALID);

    static const struct {
        int word, status;
        uint32_t value;
    } wrong[] = {
        {0, LSTMC_E_MAGIC, 0x04034b50u}, {1, LSTMC_E_MAGIC, 0},      {2, LSTMC_E_VERSION, 0},
        {2, LSTMC_E_VERSION, 2},         {3, LSTMC_E_CHECKSUM, 0},   {4, LSTMC_E_TRUNCATED, ~0u},
        {4, LSTMC_E_INVALID, 64},        {5, LSTMC_E_CHECKSUM, 2},   {15, LSTMC_E_CHECKSUM, 1},
        {16, LSTMC_E_CHECKSUM, 9999},    {400, LSTMC_E_CHECKSUM, 1},
    };
    /* A fault that is found late, in the first layer: nothing of the model can be used then. */
    const uint32_t layer = 16 + 8 * (words[5] + words[6]) + 4 * words[7];
    unsigned char *bad = read_raw("lstm", &size);
    change_file(bad, size, layer, 99);
    CHECK(lstmc_blob_to_native(bad, size) == LSTMC_OK);
    CHECK(lstmc_model_open(&m, bad, size) == LSTMC_E_UNSUPPORTED);
    CHECK(m.bad_record == 0);
    const lstmc_config one = {0, 0, LSTMC_TARGET_AUTO, NULL, 0, 0};
    size_t none = 1;
    uint32_t rows = 1, steps = 1;
    lstmc_io_info info;
    CHECK(lstmc_arena_size(&none, &m, &one) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_model_io(&m, 0, &info) == LSTMC_E_ARGUMENT);
    lstmc_model_golden(&m, &rows, &steps);
    CHECK(rows == 0 && steps == 0 && lstmc_model_panel(&m) == 0);

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const uint32_t old = words[wrong[i].word];
        words[wrong[i].word] = wrong[i].value;
        CHECK(lstmc_model_open(&m, blob, size) == wrong[i].status);
        words[wrong[i].word] = old;
    }
    CHECK(lstmc_model_open(&m, blob, size) == LSTMC_OK);
}

/* Turn round words, which is how they look from a machine of the other order. */
static void turn(unsigned char *bytes, size_t from, size_t to) {
    for (size_t i = 4 * from; i < 4 * to; i += 4) {
        const unsigned char word[4] = {bytes[i + 3], bytes[i + 2], bytes[i + 1], bytes[i]};
        memcpy(bytes + i, word, 4);
    }
}

static void test_byte_order(const char *name) {
    static const uint32_t hostile[] = {0,       1,          2,           17,         0xffffu,
                                       0x10000, 0x1000000u, 0x3fffffffu, 0x7fffffff, 0xffffffffu};
    lstmc_model m;
    size_t size;
    unsigned char *native = (unsigned char *)read_model(name, &size);
    CHECK(lstmc_model_open(&m, native, size) == LSTMC_OK);
    const size_t words = size / 4, from = (size_t)(m.strings - (const char *)native) / 4;
    /* Only what is no string is turned, to the word: the words around it are no palindromes. */
    const size_t to = from + m.strings_size / 4;
    unsigned char *other = (unsigned char *)get_memory(size + 4), *copy;
    memcpy(other, native, size);
    memset(other + 4 * from - 2, 0x12, 2);
    memset(other + 4 * to, 0x34, 2);
    turn(other, 0, from);
    turn(other, to, words);
    CHECK(lstmc_blob_to_native(other, size) == LSTMC_OK);
    CHECK(other[4 * from - 1] == 0x12 && other[4 * to] == 0x34 && other[4 * to + 2] != 0x34);
    CHECK(!memcmp(other + 4 * from, native + 4 * from, m.strings_size));

    memcpy(other, native, size);
    turn(other, 0, from);
    turn(other, to, words);
    CHECK(lstmc_model_open(&m, other, size) == LSTMC_E_MAGIC);
    copy = (unsigned char *)get_memory(size);
    memcpy(copy, other, size);
    CHECK(lstmc_blob_to_native(copy, size) == LSTMC_OK && !memcmp(copy, native, size));
    CHECK(lstmc_blob_to_native(copy, size) == LSTMC_OK && !memcmp(copy, native, size));

    CHECK(lstmc_blob_to_native(NULL, size) == LSTMC_E_ARGUMENT);
    memmove(other + 1, other, size);
    CHECK(lstmc_blob_to_native(other + 1, size) == LSTMC_E_ALIGNMENT);
    memmove(other, other + 1, size);
    for (size_t n = 0; n <= 80; n++) { /* exactly as long: a sanitizer sees what is behind */
        unsigned char *part = (unsigned char *)get_memory(n);
        memcpy(part, other, n);
        const int status = lstmc_blob_to_native(part, n);
        CHECK(status == (n < 8 ? LSTMC_E_MAGIC : n < 64 ? LSTMC_E_TRUNCATED : LSTMC_OK));
        if (status) CHECK(!memcmp(part, other, n));
        if (!status) CHECK(lstmc_model_open(&m, part, n) == LSTMC_E_TRUNCATED);
        free(part);
    }
    for (size_t i = 0; i < 8; i++) {
        memcpy(copy, other, size);
        copy[i] ^= 1;
        CHECK(lstmc_blob_to_native(copy, size) == LSTMC_E_MAGIC);
    }
    /* Whatever the header says: no wild access, and then the status that the file deserves. */
    for (size_t word = 2; word < 16; word++) {
        for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
            int want = LSTMC_E_CHECKSUM;
            memcpy(copy, other, size);
            turn(copy, word, word + 1); /* as a number of this machine */
            if (!memcmp(copy + 4 * word, hostile + i, 4)) continue;
            memcpy(copy + 4 * word, hostile + i, 4);
            turn(copy, word, word + 1);
            if (word == 2) want = LSTMC_E_VERSION;
            if (word == 4) want = hostile[i] > size ? LSTMC_E_TRUNCATED : LSTMC_E_INVALID;
            CHECK(lstmc_blob_to_native(copy, size) == LSTMC_OK);
            CHECK(lstmc_model_open(&m, copy, size) == want);
        }
    }
    free(copy);
    free(other);
    free(native);
}

/* As above with a checksum that fits, as a file: the same status on every machine. */
static void test_hostile_headers(void) {
    static const struct {
        int word, status;
        uint32_t value;
    } wrong[] = {
        {5, LSTMC_E_INVALID, 0},           {5, LSTMC_E_INVALID, 0x100000u},
        {6, LSTMC_E_INVALID, ~0u},         {7, LSTMC_E_TRUNCATED, 0xfffffu},
        {8, LSTMC_E_INVALID, ~0u},         {9, LSTMC_E_TRUNCATED, 0x100000u},
        {10, LSTMC_E_INVALID, ~0u},        {11, LSTMC_E_TRUNCATED, 0x100000u},
        {12, LSTMC_E_TRUNCATED, 1u << 31}, {12, LSTMC_E_INVALID, 0},
        {12, LSTMC_E_TRUNCATED, ~3u},      {15, LSTMC_E_UNSUPPORTED, 0x10000u},
        {15, LSTMC_E_UNSUPPORTED, ~0u},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        lstmc_model m;
        size_t size;
        unsigned char *bytes = read_raw("lstm", &size);
        change_file(bytes, size, (size_t)wrong[i].word, wrong[i].value);
        CHECK(lstmc_blob_to_native(bytes, size) == LSTMC_OK);
        CHECK(lstmc_model_open(&m, bytes, size) == wrong[i].status);
        free(bytes);
    }
}

static void test_io(void) {
    lstmc_model m;
    lstmc_io_info info;
    size_t size;
    uint32_t batch, time;
    memset(&m, 0, sizeof m);
    CHECK(lstmc_model_io(&m, 0, &info) == LSTMC_E_ARGUMENT); /* never opened */
    CHECK(lstmc_model_panel(&m) == 0 && lstmc_model_panel(NULL) == 0);
    const void *blob = read_model("names", &size);
    CHECK(!lstmc_model_open(&m, blob, size));
    CHECK(lstmc_model_io(NULL, 0, &info) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_model_io(&m, 0, NULL) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_model_io(&m, 2, &info) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_model_io(&m, ~0u, &info) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_model_io(&m, 0, &info) == LSTMC_OK);
    CHECK(!strcmp(info.name, "\xe8\xbe\x93\xe5\x85\xa5/x:0"));
    CHECK(info.rank == 2 && info.dims[0] == LSTMC_BATCH && info.dims[1] == LSTMC_TIME);
    CHECK(info.features == 1 && info.has_time == 1 && info.fixed_time == 7 && info.golden);
    CHECK(lstmc_model_io(&m, 1, &info) == LSTMC_OK);
    CHECK(info.rank == 3 && info.features == 3 && info.has_time && !info.golden);
    CHECK(info.fixed_time == 0 && info.golden_digest == 0x076ab8c9u);
    lstmc_model_golden(&m, &batch, &time);
    CHECK(batch == 2 && time == 16 && lstmc_model_panel(&m) == 1);

    blob = read_model("functions", &size);
    CHECK(!lstmc_model_open(&m, blob, size));
    CHECK(lstmc_model_panel(&m) == 4);
    CHECK(!lstmc_model_io(&m, 1, &info));
    CHECK(info.rank == 3 && info.features == 6 && !info.has_time && info.dims[1] == 2);
}

/* ---------------------------------------------------------------------------------- sessions -- */

static void test_session_misuse(void) {
    lstmc_model m, none;
    sample s;
    size_t size = 7, more;
    lstmc_session *session;
    open_model(&m, &s, "stack");
    memset(&none, 0, sizeof none);
    CHECK(lstmc_arena_size(NULL, &m, &automatic) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_arena_size(&size, NULL, &automatic) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_arena_size(&size, &m, NULL) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_arena_size(&size, &none, &automatic) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_arena_size(&size, &m, &automatic) == LSTMC_OK && size > 0);

    static const struct {
        uint32_t batch, time;
    } huge[] = {{~0u, 1}, {1, ~0u}, {~0u, ~0u}, {0x10000, 0x10000}, {0x40000000, 2}};
    for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
        lstmc_config c = automatic;
        c.batch = huge[i].batch;
        c.time = huge[i].time;
        CHECK(lstmc_arena_size(&more, &m, &c) == LSTMC_E_ARGUMENT && more == 0);
        CHECK(lstmc_session_init(&session, &m, &c, &s, 64) == LSTMC_E_ARGUMENT);
    }
    lstmc_config one = automatic;
    one.batch = one.time = 1; /* what zeros mean */
    CHECK(lstmc_arena_size(&more, &m, &one) == LSTMC_OK && more == size);
    for (uint32_t n = 2; n < 40; n++) { /* larger shapes never need less */
        size_t last = more;
        one.batch = n;
        CHECK(lstmc_arena_size(&more, &m, &one) == LSTMC_OK && more >= last);
        last = more;
        one.time = n;
        CHECK(lstmc_arena_size(&more, &m, &one) == LSTMC_OK && more >= last);
    }

    unsigned char *arena = (unsigned char *)get_memory(size + 64);
    CHECK(lstmc_session_init(NULL, &m, &automatic, arena, size) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_session_init(&session, NULL, &automatic, arena, size) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_session_init(&session, &none, &automatic, arena, size) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_session_init(&session, &m, NULL, arena, size) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_session_init(&session, &m, &automatic, NULL, size) == LSTMC_E_ARGUMENT);
    for (size_t n = 0; n < size; n += n < 64 || n + 64 > size ? 1 : 61) {
        CHECK(lstmc_session_init(&session, &m, &automatic, arena, n) == LSTMC_E_ARENA);
    }
    for (size_t shift = 1; shift <= 64; shift++) {
        const int status = lstmc_session_init(&session, &m, &automatic, arena + shift, size);
        CHECK(status == (shift % 16 ? LSTMC_E_ALIGNMENT : LSTMC_OK));
    }
    for (int t = -1; t <= LSTMC_TARGET_COUNT + 1; t++) {
        lstmc_config c = automatic;
        c.target = (lstmc_target)t;
        const int status = lstmc_session_init(&session, &m, &c, arena, size);
        const int available = t == LSTMC_TARGET_AUTO || lstmc_target_available(c.target);
        CHECK(status == (available ? LSTMC_OK : LSTMC_E_TARGET));
        if (!status && t) CHECK(lstmc_session_target(session) == c.target);
        if (!status) CHECK(lstmc_target_available(lstmc_session_target(session)));
    }
}

/* What the parts of an arena add up to. */
static void check_memory(const lstmc_model *m, const lstmc_config *c) {
    lstmc_memory all, use;
    size_t size, weights = 0, record = 0, state = 0, scratch = 0, values = 0;
    CHECK(lstmc_arena_size(&size, m, c) == LSTMC_OK);
    CHECK(lstmc_memory_use(&all, m, c, LSTMC_NONE) == LSTMC_OK);
    CHECK(all.tables + all.record + all.state + all.scratch + all.values == size);
    CHECK(all.tables > 0 && all.record > 0);
    for (uint32_t i = 0; i < m->layer_count; i++) {
        CHECK(lstmc_memory_use(&use, m, c, i) == LSTMC_OK);
        CHECK(use.tables == 0);
        weights += use.weights;
        record += use.record;
        state += use.state;
        values += use.values;
        if (use.scratch > scratch) scratch = use.scratch;
    }
    CHECK(weights == all.weights && record == all.record && state == all.state);
    CHECK(c->parallel ? scratch <= all.scratch : scratch == all.scratch);
    CHECK(all.values <= values || m->layer_count == 1); /* a scattered input is nobody's output */
}

static void run_here(void *pool, uint32_t parts, void (*body)(void *, uint32_t), void *argument) {
    (void)pool;
    for (uint32_t part = 0; part < parts; part++) body(argument, part);
}

static void test_memory(void) {
    lstmc_model m, none;
    sample s;
    lstmc_memory use;
    lstmc_config c = automatic;
    const lstmc_parallel threads = {run_here, NULL, 3, 1};
    memset(&none, 0, sizeof none);
    open_model(&m, &s, "stack");
    CHECK(lstmc_memory_use(NULL, &m, &c, 0) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_memory_use(&use, NULL, &c, 0) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_memory_use(&use, &none, &c, LSTMC_NONE) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_memory_use(&use, &m, NULL, 0) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_memory_use(&use, &m, &c, m.layer_count) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_memory_use(&use, &m, &c, LSTMC_NONE - 1) == LSTMC_E_ARGUMENT);
    c.batch = c.time = ~0u;
    CHECK(lstmc_memory_use(&use, &m, &c, 0) == LSTMC_E_ARGUMENT && use.values == 0);
    CHECK(lstmc_memory_use(&use, &m, &c, LSTMC_NONE) == LSTMC_E_ARGUMENT && use.state == 0);

    static const char *const names[] = {"stack", "lstm", "names", "recurrent", "directions"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        open_model(&m, &s, names[i]);
        for (uint32_t n = 1; n < 200; n += n < 5 ? 1 : 39) {
            c.batch = n;
            c.time = 1 + n / 3;
            c.parallel = NULL;
            check_memory(&m, &c);
            c.parallel = &threads;
            check_memory(&m, &c);
        }
    }
}

static void test_run_misuse(void) {
    lstmc_model m;
    sample s;
    int status;
    open_model(&m, &s, "stack");
    lstmc_session *session = make_session(&m, 2, 4, LSTMC_TARGET_AUTO, &status);
    CHECK(session && !status);
    clear_outputs(&s);
    lstmc_array a[64];
    memset(a, 0, sizeof a);
    const uint32_t count = s.inputs + s.outputs;
    for (uint32_t i = 0; i < count; i++) {
        a[i].data = s.all[i].data;
        a[i].batch_stride = a[i].time_stride = 0;
    }
    const lstmc_array *out = a + s.inputs;
    CHECK(lstmc_run(NULL, a, out, 1, 1, NULL) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_run(session, NULL, out, 1, 1, NULL) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_run(session, a, NULL, 1, 1, NULL) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_run(session, a, out, 0, 1, NULL) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_run(session, a, out, 1, 0, NULL) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_run(session, a, out, 3, 1, NULL) == LSTMC_E_SHAPE);
    CHECK(lstmc_run(session, a, out, 1, 5, NULL) == LSTMC_E_SHAPE);
    CHECK(lstmc_run(session, a, out, ~0u, ~0u, NULL) == LSTMC_E_SHAPE);
    for (uint32_t i = 0; i < count; i++) {
        void *data = a[i].data;
        a[i].data = NULL;
        CHECK(lstmc_run(session, a, out, 1, 1, NULL) == LSTMC_E_ARGUMENT);
        a[i].data = data;
    }
    for (uint32_t i = s.inputs; i < count; i++) { /* nothing has been computed */
        const size_t bytes = s.all[i].floats * sizeof(float);
        CHECK(untouched((const unsigned char *)s.all[i].data, bytes, 0xa5));
    }
    /* And the state has not moved. */
    for (uint32_t t = 0; t < s.time; t += 4) CHECK(!run_part(session, &s, 0, 2, t, 4, NULL));
    CHECK(outputs_are_golden(&s));
}

/* A call whose inputs contradict one another is refused, and the next one is as if it had not been. */
static void test_after_a_refusal(const char *name) {
    lstmc_model m;
    sample s, fresh;
    int status, refused = 0;
    lstmc_array a[64], b[64];
    open_model(&m, &s, name);
    open_model(&m, &fresh, name);
    const uint32_t count = s.inputs + s.outputs, rows = s.batch, fewer = s.time - 1;
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    for (uint32_t i = 0; i < count && i < 64; i++) {
        a[i].data = s.all[i].data;
        b[i].data = fresh.all[i].data;
    }
    clear_outputs(&fresh);
    lstmc_session *session = make_session(&m, rows, s.time, LSTMC_TARGET_AUTO, &status);
    const int expected = lstmc_run(session, b, b + s.inputs, rows, fewer, NULL);
    for (uint32_t i = 0; i < s.inputs; i++) {
        session = make_session(&m, rows, s.time, LSTMC_TARGET_AUTO, &status);
        CHECK(!lstmc_run(session, a, a + s.inputs, rows, s.time, NULL));
        a[i].time = s.time;
        status = lstmc_run(session, a, a + s.inputs, rows, fewer, NULL);
        CHECK(!status || status == LSTMC_E_SHAPE);
        refused += status != 0;
        a[i].time = 0;
        clear_outputs(&s);
        lstmc_reset(session);
        CHECK(lstmc_run(session, a, a + s.inputs, rows, fewer, NULL) == expected);
        for (uint32_t j = s.inputs; j < count; j++) {
            const size_t bytes = s.all[j].floats * sizeof(float);
            CHECK(!memcmp(s.all[j].data, fresh.all[j].data, bytes));
        }
    }
    CHECK(refused || s.inputs == 1);
}

/* Guard bytes around the arena and every output; all targets; every chunk; a dirty arena. */
static void test_runs_stay_in_their_memory(const char *name) {
    lstmc_model m;
    sample s;
    open_model(&m, &s, name);
    const lstmc_model before = m;
    size_t blob_size;
    const void *copy = read_model(name, &blob_size);
    for (int t = LSTMC_TARGET_SCALAR; t < LSTMC_TARGET_COUNT; t++) {
        lstmc_config c = {0, 0, LSTMC_TARGET_AUTO, NULL, 0, 0};
        size_t size;
        if (!lstmc_target_available((lstmc_target)t)) continue;
        c.batch = s.batch;
        c.time = s.time;
        c.target = (lstmc_target)t;
        CHECK(!lstmc_arena_size(&size, &m, &c));
        unsigned char *memory = (unsigned char *)get_memory(size + 2 * GUARD);
        for (int fill = 0; fill < 256; fill += 51) { /* 0xff: NaN; 0x33: small; 0: clean */
            const unsigned char byte = (unsigned char)fill;
            lstmc_session *session;
            memset(memory, byte, size + 2 * GUARD);
            CHECK(!lstmc_session_init(&session, &m, &c, memory + GUARD, size));
            clear_outputs(&s);
            CHECK(!run_part(session, &s, 0, s.batch, 0, s.time, NULL));
            CHECK(outputs_are_golden(&s));
            lstmc_reset(session);
            clear_outputs(&s);
            CHECK(!run_part(session, &s, 0, s.batch, 0, s.time, NULL));
            CHECK(outputs_are_golden(&s));
            CHECK(untouched(memory, GUARD, byte));
            CHECK(untouched(memory + GUARD + size, GUARD, byte));
        }
        free(memory);
    }
    CHECK(!memcmp(&before, &m, sizeof m)); /* const it says, const it is */
    CHECK(!memcmp(copy, m.words, blob_size));
}

/* Strides: rows and steps apart, with bytes between them that nothing touches. */
static void test_strides(const char *name) {
    lstmc_model m;
    sample s;
    int status;
    open_model(&m, &s, name);
    lstmc_array a[64];
    memset(a, 0, sizeof a);
    float *room[64];
    size_t sizes[64];
    const uint32_t count = s.inputs + s.outputs;
    for (int time_major = 0; time_major < 2; time_major++) {
        lstmc_session *session = make_session(&m, s.batch, s.time, LSTMC_TARGET_AUTO, &status);
        for (uint32_t i = 0; i < count; i++) {
            const io_array *w = s.all + i;
            const size_t gap = w->info.features + 5 + i;
            const size_t time = lstmc_model_steps(&m, i, s.time);
            a[i].time_stride = !w->info.has_time ? 0 : time_major ? gap * s.batch : gap;
            a[i].batch_stride = time_major ? gap : gap * time;
            sizes[i] = gap * time * s.batch;
            room[i] = (float *)get_memory(sizes[i] * sizeof(float));
            memset(room[i], 0xa5, sizes[i] * sizeof(float));
            a[i].data = room[i];
            for (uint32_t b = 0; i < s.inputs && b < s.batch; b++) {
                for (uint32_t t = 0; t < time; t++) {
                    memcpy(room[i] + b * a[i].batch_stride + t * a[i].time_stride,
                           w->data + b * w->batch_stride + t * w->time_stride,
                           w->info.features * sizeof(float));
                }
            }
        }
        CHECK(!lstmc_run(session, a, a + s.inputs, s.batch, s.time, NULL));
        clear_outputs(&s);
        for (uint32_t i = s.inputs; i < count; i++) {
            const io_array *w = s.all + i;
            const size_t time = lstmc_model_steps(&m, i, s.time);
            size_t others = 0;
            for (uint32_t b = 0; b < s.batch; b++) {
                for (uint32_t t = 0; t < time; t++) {
                    float *from = room[i] + b * a[i].batch_stride + t * a[i].time_stride;
                    memcpy(w->data + b * w->batch_stride + t * w->time_stride, from,
                           w->info.features * sizeof(float));
                    memset(from, 0xa5, w->info.features * sizeof(float));
                    others++;
                }
            }
            CHECK(others == s.batch * time);
            CHECK(untouched((unsigned char *)room[i], sizes[i] * sizeof(float), 0xa5));
            free(room[i]);
        }
        CHECK(outputs_are_golden(&s));
    }
}

/* A session for many rows, used for a few of them in turn: each row goes on where it was. */
static void test_rows_left_out(void) {
    lstmc_model m;
    sample s;
    int status;
    open_model(&m, &s, "lstm");
    lstmc_session *all = make_session(&m, 8, 8, LSTMC_TARGET_AUTO, &status);
    float x[8][8][3], y[8], last[8][8];
    for (int b = 0; b < 8; b++) {
        for (int t = 0; t < 8; t++) {
            for (int i = 0; i < 3; i++)
                x[b][t][i] = (float)((b * 31 + t * 17 + i * 7) % 13 - 6) / 8;
        }
    }
    lstmc_array in = {x, 24, 3, 0, 0, 0}, out = {y, 1, 0, 0, 0, 0};
    for (int b = 0; b < 8; b++) { /* what row b gives alone after t steps */
        lstmc_session *one = make_session(&m, 1, 1, LSTMC_TARGET_SCALAR, &status);
        for (int t = 0; t < 8; t++) {
            in.data = x[b][t];
            CHECK(!lstmc_run(one, &in, &out, 1, 1, NULL));
            last[b][t] = y[0];
        }
    }
    /* Rows 0 .. n-1 take part in chunks of different lengths; the others stand still. */
    static const int chunks[][2] = {{8, 1}, {3, 1}, {1, 3}, {2, 2}, {5, 1}, {8, 1}};
    int steps[8] = {0};
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        float now[8][8][3];
        const int rows = chunks[c][0], time = chunks[c][1];
        for (int b = 0; b < rows; b++) {
            for (int t = 0; t < time; t++) {
                memcpy(now[b][t], x[b][(steps[b] + t) % 8], sizeof now[b][t]);
            }
        }
        in.data = now;
        CHECK(!lstmc_run(all, &in, &out, (uint32_t)rows, (uint32_t)time, NULL));
        for (int b = 0; b < rows; b++) {
            steps[b] += time;
            if (steps[b] <= 8) CHECK(!memcmp(&y[b], &last[b][steps[b] - 1], sizeof *y));
        }
        /* Partial use must show in the states too: a fresh read gives what the next call uses. */
        float h[8 * 12];
        CHECK(!lstmc_state_read(all, 0, h, 8));
        CHECK(!lstmc_state_write(all, 0, h, 8));
    }
}

/* Lengths: clamped, rows stand still beyond them, sequences are +0. */
static void test_lengths(void) {
    lstmc_model m;
    sample s, alone;
    int status;
    open_model(&m, &s, "stack");
    open_model(&m, &alone, "stack");
    static const int32_t tables[][2] = {{0, 16}, {5, 0}, {16, 1}, {-3, 99}, {7, 8}, {INT32_MIN, 2}};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        lstmc_session *session = make_session(&m, 2, 16, LSTMC_TARGET_AUTO, &status);
        clear_outputs(&s);
        CHECK(!run_part(session, &s, 0, 2, 0, 16, tables[i]));
        for (uint32_t b = 0; b < 2; b++) {
            const int32_t n = tables[i][b] < 0 ? 0 : tables[i][b] > 16 ? 16 : tables[i][b];
            clear_outputs(&alone);
            lstmc_session *one = make_session(&m, 1, 16, LSTMC_TARGET_SCALAR, &status);
            if (n) CHECK(!run_part(one, &alone, b, 1, 0, (uint32_t)n, NULL));
            for (uint32_t o = s.inputs; o < s.inputs + s.outputs; o++) {
                const io_array *got = s.all + o, *want = alone.all + o;
                const size_t bytes = got->info.features * sizeof(float);
                for (uint32_t t = 0; t < (got->info.has_time ? 16u : 1u); t++) {
                    const size_t at = b * got->batch_stride + t * got->time_stride;
                    if (!got->info.has_time ? n > 0 : (int32_t)t < n) {
                        CHECK(!memcmp(got->data + at, want->data + at, bytes));
                    } else if (got->info.has_time || o < s.inputs + 3) { /* h and c of an LSTM */
                        CHECK(untouched((unsigned char *)(got->data + at), bytes, 0));
                    }
                }
            }
        }
        /* Going on afterwards is going on from where each row stood. */
        clear_outputs(&s);
        CHECK(!run_part(session, &s, 0, 2, 0, 1, NULL));
        for (uint32_t b = 0; b < 2; b++) {
            const int32_t n = tables[i][b] < 0 ? 0 : tables[i][b] > 16 ? 16 : tables[i][b];
            lstmc_session *one = make_session(&m, 1, 16, LSTMC_TARGET_SCALAR, &status);
            clear_outputs(&alone);
            if (n) CHECK(!run_part(one, &alone, b, 1, 0, (uint32_t)n, NULL));
            CHECK(!run_part(one, &alone, b, 1, 0, 1, NULL));
            for (uint32_t o = s.inputs; o < s.inputs + s.outputs; o++) {
                const size_t at = b * s.all[o].batch_stride;
                CHECK(!memcmp(s.all[o].data + at, alone.all[o].data + at,
                              s.all[o].info.features * sizeof(float)));
            }
        }
    }
}

static void test_states(void) {
    lstmc_model m;
    sample s;
    int status;
    lstmc_state_info info;
    float data[4 * 64], copy[4 * 64];
    open_model(&m, &s, "stack");
    lstmc_session *session = make_session(&m, 2, 16, LSTMC_TARGET_AUTO, &status);
    CHECK(lstmc_state_count(session) == 5); /* h and c of two LSTMs, the last step */
    static const char *const names[] = {"h", "c", "h", "c", "last"};
    static const uint32_t features[] = {9, 9, 17, 17, 17};
    for (uint32_t i = 0; i < 5; i++) {
        CHECK(lstmc_state_describe(session, i, &info) == LSTMC_OK);
        CHECK(!strcmp(info.name, names[i]) && info.features == features[i]);
        CHECK(!strcmp(info.layer, i < 2 ? "lstm0" : i < 4 ? "lstm2" : "laststep3"));
    }
    CHECK(lstmc_state_describe(session, 5, &info) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_describe(session, ~0u, &info) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_describe(session, 0, NULL) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_describe(NULL, 0, &info) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_read(session, 5, data, 1) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_read(session, 0, NULL, 1) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_read(NULL, 0, data, 1) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_read(session, 0, data, 3) == LSTMC_E_SHAPE);
    CHECK(lstmc_state_write(session, 5, data, 1) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_write(session, 0, NULL, 1) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_write(NULL, 0, data, 1) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_state_write(session, 0, data, 3) == LSTMC_E_SHAPE);

    for (uint32_t i = 0; i < 5; i++) { /* zero at the start */
        CHECK(!lstmc_state_read(session, i, data, 2));
        CHECK(untouched((unsigned char *)data, 2 * features[i] * sizeof *data, 0));
    }
    /* Half of the sample here, its state carried to another session, the rest there. */
    for (uint32_t half = 0; half < 16; half += 3) {
        lstmc_session *a = make_session(&m, 2, 16, LSTMC_TARGET_AUTO, &status);
        lstmc_session *b = make_session(&m, 5, 9, LSTMC_TARGET_SCALAR, &status);
        clear_outputs(&s);
        if (half) CHECK(!run_part(a, &s, 0, 2, 0, half, NULL));
        for (uint32_t i = 0; i < 5; i++) {
            CHECK(!lstmc_state_read(a, i, data, 2) && !lstmc_state_write(b, i, data, 2));
            CHECK(!lstmc_state_read(b, i, copy, 2));
            CHECK(!memcmp(data, copy, 2 * features[i] * sizeof *data));
        }
        for (uint32_t t = half; t < 16; t++) CHECK(!run_part(b, &s, 0, 2, t, 1, NULL));
        CHECK(outputs_are_golden(&s));
    }
    /* Small values written become +0; others, NaN and infinity stay. */
    for (int i = 0; i < 17; i++) data[i] = i % 2 ? -5.4e-20f : 1e-40f;
    data[2] = NAN;
    data[4] = -INFINITY;
    data[5] = 0x1p-64f;
    CHECK(!lstmc_state_write(session, 3, data, 1) && !lstmc_state_read(session, 3, copy, 1));
    for (int i = 0; i < 17; i++) {
        if (i == 2) {
            CHECK(isnan(copy[i]));
        } else {
            const float want = i == 4 || i == 5 ? data[i] : 0.0f;
            CHECK(!memcmp(&copy[i], &want, sizeof want));
        }
    }
    lstmc_reset(session);
    for (uint32_t i = 0; i < 5; i++) {
        CHECK(!lstmc_state_read(session, i, data, 2));
        CHECK(untouched((unsigned char *)data, 2 * features[i] * sizeof *data, 0));
    }
}

/* Sessions share the model and nothing else. */
static void test_two_sessions(void) {
    lstmc_model m;
    sample s, other;
    int status;
    open_model(&m, &s, "stack");
    open_model(&m, &other, "stack");
    const lstmc_model moved = m; /* a view can be copied, too */
    for (size_t i = 0; i < other.all[0].floats; i++) other.all[0].data[i] *= -3.0f;
    lstmc_session *a = make_session(&m, 2, 16, LSTMC_TARGET_AUTO, &status);
    lstmc_session *b = make_session(&moved, 2, 16, LSTMC_TARGET_AUTO, &status);
    clear_outputs(&s);
    for (uint32_t t = 0; t < 16; t++) {
        CHECK(!run_part(a, &s, 0, 2, t, 1, NULL));
        CHECK(!run_part(b, &other, 0, 2, t, 1, NULL));
        if (t % 5 == 0) lstmc_reset(b);
    }
    CHECK(outputs_are_golden(&s));
    CHECK(!outputs_are_golden(&other));
}

/* ------------------------------------------------------------------------------------- tools -- */

static void test_tools(void) {
    float x[37], y[40], z[40];
    const float nans[2] = {NAN, -NAN}, numbers[3] = {1.0f, -2.5f, 0.0f};
    lstmc_fn fn = {LSTMC_FN_TANH, 0.0f, 0.0f};
    CHECK(lstmc_digest(0, NULL, 0) == 0);
    CHECK(lstmc_digest(0, numbers, 3) == 0x82e12d80u);
    CHECK(lstmc_digest(lstmc_digest(0, numbers, 1), numbers + 1, 2) == 0x82e12d80u);
    CHECK(lstmc_digest(0, nans, 1) == lstmc_digest(0, nans + 1, 1));
    for (int i = 0; i < 37; i++) x[i] = (float)(i - 18) / 2.0f;
    CHECK(lstmc_map(LSTMC_TARGET_AUTO, NULL, x, y, 1) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_map(LSTMC_TARGET_AUTO, &fn, NULL, y, 1) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_map(LSTMC_TARGET_AUTO, &fn, x, NULL, 1) == LSTMC_E_ARGUMENT);
    CHECK(lstmc_map(LSTMC_TARGET_AUTO, &fn, NULL, NULL, 0) == LSTMC_OK);
    CHECK(lstmc_map(LSTMC_TARGET_COUNT, &fn, x, y, 1) == LSTMC_E_TARGET);
    CHECK(lstmc_map((lstmc_target)-1, &fn, x, y, 1) == LSTMC_E_TARGET);
    fn.kind = LSTMC_FN_COUNT;
    CHECK(lstmc_map(LSTMC_TARGET_AUTO, &fn, x, y, 1) == LSTMC_E_ARGUMENT);
    for (uint32_t kind = 0; kind < LSTMC_FN_COUNT; kind++) {
        fn.kind = kind;
        fn.alpha = 0.2f;
        fn.beta = 0.5f;
        for (size_t n = 0; n <= 37; n++) { /* every tail, nothing behind it touched */
            CHECK(!lstmc_map(LSTMC_TARGET_SCALAR, &fn, x, z, n));
            const uint32_t want = lstmc_digest(0, z, n); /* whatever the payload of a NaN */
            for (int t = LSTMC_TARGET_SCALAR; t < LSTMC_TARGET_COUNT; t++) {
                if (!lstmc_target_available((lstmc_target)t)) continue;
                float *from = (float *)get_memory(n * sizeof(float)); /* exactly as long */
                memcpy(from, x, n * sizeof *x);
                memset(y, 0xa5, sizeof y);
                CHECK(!lstmc_map((lstmc_target)t, &fn, from, y, n));
                CHECK(lstmc_digest(0, y, n) == want);
                CHECK(untouched((unsigned char *)(y + n), (40 - n) * sizeof *y, 0xa5));
                CHECK(!lstmc_map((lstmc_target)t, &fn, from, from, n)); /* in place */
                CHECK(lstmc_digest(0, from, n) == want);
                free(from);
            }
        }
    }
}

int main(int argc, char **argv) {
    static const char *const files[] = {"lstm", "stack", "functions", "names"};
    if (argc < 2) {
        fprintf(stderr, "usage: test_core DIRECTORY [MODEL...]\n");
        return 2;
    }
    directory = argv[1];
    test_texts();
    test_open();
    test_io();
    test_session_misuse();
    test_memory();
    test_run_misuse();
    test_hostile_headers();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        test_byte_order(files[i]);
        test_runs_stay_in_their_memory(files[i]);
        test_strides(files[i]);
    }
    for (int i = 2; i < argc; i++) {
        test_runs_stay_in_their_memory(argv[i]);
        test_strides(argv[i]);
        test_after_a_refusal(argv[i]);
    }
    test_rows_left_out();
    test_lengths();
    test_states();
    test_two_sessions();
    test_tools();
    printf("%d checks, %d failures\n", checks, failures);
    return failures != 0;
}
