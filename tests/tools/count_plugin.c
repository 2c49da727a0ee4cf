/* A QEMU plugin that counts the instructions which the emulated CPU executes, and says their number
 * when the program ends: "instructions: N" on stderr.
 *
 *     cc -shared -fPIC -DAPI=1 tests/tools/count_plugin.c -o count.so
 *     qemu-aarch64 -plugin ./count.so PROGRAM
 *
 * Debian has no header for plugins, so the few names needed are declared here, as of QEMU 7.2 (API 1);
 * they are the same up to API 4 at least. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#ifndef API
#define API 1
#endif

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
                                           void (*cb)(plugin_id id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
                                          void (*cb)(unsigned vcpu, void *data), int flags,
                                          void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_atexit_cb(plugin_id id, void (*cb)(plugin_id id, void *data), void *data);

int qemu_plugin_version = API;

static uint64_t total; /* one CPU, one thread */

static void executed(unsigned vcpu, void *data) {
    (void)vcpu;
    total += (uintptr_t)data;
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, (void *)qemu_plugin_tb_n_insns(tb));
}

static void ended(plugin_id id, void *data) {
    (void)id;
    (void)data;
    fprintf(stderr, "instructions: %" PRIu64 "\n", total);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
